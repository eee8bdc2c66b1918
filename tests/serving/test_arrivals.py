from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.serving.arrivals import Arrivals


def test_nobody_is_expected_who_came_once() -> None:
    arrivals = Arrivals()
    assert arrivals.next_s(0.0) == inf
    arrivals.note("robot", 1.0)
    assert arrivals.next_s(1.0) == inf


@given(period_s=st.floats(0.1, 10), count=st.integers(2, 20), since=st.floats(0, 1))
def test_who_comes_at_even_distances_is_expected_after_one_more(period_s: float, count: int, since: float) -> None:
    arrivals = Arrivals()
    for number in range(count):
        arrivals.note("robot", number * period_s)
    now_s = (count - 1 + since) * period_s
    assert arrivals.next_s(now_s) == pytest.approx(count * period_s)


def test_the_next_of_several_counts_and_the_overdue_are_due_now_and_then_no_more() -> None:
    arrivals = Arrivals()
    for came_s, who in ((0.0, "a"), (0.5, "b"), (1.0, "a"), (2.5, "b")):
        arrivals.note(who, came_s)
    assert arrivals.next_s(1.5) == 2.0
    assert arrivals.next_s(2.1) == 2.1, "a is due"
    assert arrivals.next_s(2.3) == 4.5, "a has gone, and b is expected"
    assert arrivals.next_s(100.0) == inf


def test_those_who_left_are_forgotten() -> None:
    arrivals = Arrivals()
    for number in range(1000):
        arrivals.note(number, float(number))
    assert len(arrivals._known) < 100
