import time

import pytest

from foreact.trace import Trace


def test_spans_add_up_until_taken() -> None:
    trace = Trace()
    for _ in range(2):
        with trace.span("sleep"):
            time.sleep(0.02)
    with trace.span("nothing"):
        pass
    spent = trace.take()
    assert set(spent) == {"sleep", "nothing"}
    assert 40 <= spent["sleep"] < 4000
    assert 0 <= spent["nothing"] < spent["sleep"]
    assert trace.take() == {}


def test_a_span_that_fails_counts_too() -> None:
    trace = Trace()
    with pytest.raises(KeyError), trace.span("fails"):
        raise KeyError
    assert "fails" in trace.take()


def test_the_accelerator_is_waited_for_at_both_ends() -> None:
    waits = []
    trace = Trace(lambda: waits.append("wait"))
    with trace.span("work"):
        waits.append("work")
    assert waits == ["wait", "work", "wait"]
