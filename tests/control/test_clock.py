import time

from foreact.control.clock import Clock, RealClock, VirtualClock


def test_both_are_clocks() -> None:
    assert isinstance(RealClock(), Clock) and isinstance(VirtualClock(), Clock)


def test_virtual_time_passes_by_waiting_only_and_never_back() -> None:
    clock = VirtualClock(3.0)
    assert clock.now() == clock.now() == 3.0
    clock.sleep_until(1e6)
    assert clock.now() == 1e6
    clock.sleep_until(5.0)
    assert clock.now() == 1e6


def test_real_time_sleeps_until_and_not_beyond_the_past() -> None:
    clock = RealClock()
    before = clock.now()
    clock.sleep_until(before + 0.01)
    assert clock.now() >= before + 0.01
    clock.sleep_until(before - 1e9)
    assert clock.now() <= time.monotonic()
