import time
from threading import Thread

import pytest

from foreact.control.clock import Clock
from foreact.errors import ConfigurationError
from foreact.viewing.clock import PausableClock


def test_it_is_a_clock_of_the_control_loop() -> None:
    assert isinstance(PausableClock(), Clock)


def test_no_time_passes_while_it_is_paused() -> None:
    clock = PausableClock()
    clock.pause()
    before_s = clock.now()
    time.sleep(0.05)
    assert clock.paused and clock.now() == before_s
    clock.resume()
    time.sleep(0.05)
    assert not clock.paused and clock.now() >= before_s + 0.05


def test_half_the_speed_is_half_the_time() -> None:
    clock = PausableClock()
    clock.set_speed(0.5)
    start_s, machine_s = clock.now(), time.monotonic()
    clock.sleep_until(start_s + 0.1)
    assert time.monotonic() - machine_s >= 0.19


def test_who_waits_is_not_woken_before_it_goes_on_and_is_called_meanwhile() -> None:
    called, woken = [], []
    clock = PausableClock(lambda: called.append(1))
    clock.pause()

    def wait() -> None:
        clock.sleep_until(-1.0)  # past, but the clock is paused
        woken.append(1)

    thread = Thread(target=wait)
    thread.start()
    time.sleep(0.15)
    assert called and not woken
    clock.resume()
    thread.join(5)
    assert woken


@pytest.mark.parametrize("speed", [0.0, 1.5])
def test_a_speed_that_cannot_be_is_refused(speed) -> None:
    with pytest.raises(ConfigurationError, match=r"speed of the clock; got: .*; allowed: 0.05 to 1"):
        PausableClock().set_speed(speed)
