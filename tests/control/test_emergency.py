from threading import Thread

from foreact.control.emergency import EmergencyStop


def test_the_first_reason_stays() -> None:
    emergency = EmergencyStop()
    assert emergency.reason is None
    threads = [Thread(target=emergency.stop, args=[str(number)]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = emergency.reason
    assert first is not None
    emergency.stop("later")
    assert emergency.reason == first
