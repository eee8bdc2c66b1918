import time

import pytest

from foreact.control.clock import RealClock
from foreact.viewing.delay import DelayedWorker


def answer_of(worker: DelayedWorker, clock: RealClock):
    for _ in range(500):
        if answer := worker.poll(clock.now()):
            return answer
        time.sleep(0.005)
    raise AssertionError("no answer")


def test_an_answer_comes_no_sooner_than_the_latency_and_says_so() -> None:
    clock = RealClock()
    worker = DelayedWorker(clock, lambda: 0.1)
    asked_s = clock.now()
    assert worker.asked_s is None
    worker.submit(lambda: "chunk")
    assert worker.asked_s >= asked_s
    answer = answer_of(worker, clock)
    assert answer.value == "chunk" and clock.now() - asked_s >= 0.1
    assert answer.ready_s >= asked_s + 0.1 and worker.asked_s is None
    assert worker.close()


def test_without_a_latency_it_comes_when_it_is_ready_and_a_failure_is_raised() -> None:
    clock = RealClock()
    worker = DelayedWorker(clock, lambda: 0.0)
    worker.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answer_of(worker, clock)
    assert worker.close()
