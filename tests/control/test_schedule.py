import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.control.clock import VirtualClock
from foreact.control.report import Tally
from foreact.control.schedule import Schedule


def run(delays_s: list[float], *, tick_s: float = 0.02) -> tuple[Tally, list[tuple[int, float]]]:
    """Be late by so much at each tick; return the count, and which tick each command served, and when."""
    clock, tally, given_at = VirtualClock(7.0), Tally(), []
    schedule = Schedule(clock, tick_s, tally, late_s=0.005)
    for delay_s in delays_s:
        schedule.wait()
        clock.sleep_until(clock.now() + delay_s)
        schedule.acting()
        given_at.append((schedule.index, clock.now() - 7.0))
    return tally, given_at


def test_deadlines_are_absolute() -> None:
    tally, given_at = run([0.0, 0.004, 0.0, 0.006, 0.0])
    assert [tick for tick, _ in given_at] == [0, 1, 2, 3, 4]
    assert [time for _, time in given_at] == pytest.approx([0, 0.024, 0.04, 0.066, 0.08])
    assert (tally.num_late_ticks, tally.num_missed_ticks, tally.num_ticks) == (1, 0, 5)
    assert tally.worst_lateness_s == pytest.approx(0.006)


def test_missed_ticks_are_passed_over() -> None:
    tally, given_at = run([0.0, 0.07, 0.0, 0.0])
    assert [tick for tick, _ in given_at] == [0, 4, 5, 6]
    assert [time for _, time in given_at] == pytest.approx([0, 0.09, 0.1, 0.12])
    assert (tally.num_late_ticks, tally.num_missed_ticks, tally.num_ticks) == (1, 3, 4)


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=30))
def test_however_late_there_is_no_burst(delays_s) -> None:
    tally, given_at = run(delays_s)
    ticks = [tick for tick, _ in given_at]
    assert ticks == sorted(set(ticks)), "each tick has one command at most"
    assert all(-1e-9 <= time - tick * 0.02 <= 0.02 + 1e-9 for tick, time in given_at)
    assert tally.num_missed_ticks == ticks[-1] + 1 - len(ticks)
    assert tally.num_late_ticks <= tally.num_ticks == len(ticks)
