import sys
import threading
from itertools import chain

import pytest

from foreact.control.clock import RealClock, VirtualClock
from foreact.control.latency import recorded
from foreact.control.worker import ThreadWorker, VirtualWorker, Worker


def fail() -> None:
    raise LookupError("no idea")


def answer_of(worker: ThreadWorker):
    for _ in range(10_000):
        if answer := worker.poll(0.0):
            return answer
        threading.Event().wait(0.001)
    raise AssertionError("no answer")


def test_both_are_workers() -> None:
    assert isinstance(VirtualWorker(VirtualClock(), chain()), Worker)
    assert isinstance(ThreadWorker(RealClock()), Worker)


def test_a_virtual_answer_is_held_back_for_its_latency() -> None:
    clock = VirtualClock(1.0)
    worker = VirtualWorker(clock, recorded([0.5, 0.0]))
    assert worker.poll(9.0) is None
    worker.submit(lambda: "first")
    assert worker.poll(1.49) is None
    answer = worker.poll(1.5)
    assert answer is not None and (answer.value, answer.ready_s) == ("first", 1.5)
    assert worker.poll(2.0) is None, "once only"
    worker.submit(lambda: "second")
    assert worker.close() and worker.poll(9.0) is None


def test_a_virtual_failure_arrives_when_the_answer_would() -> None:
    worker = VirtualWorker(VirtualClock(), recorded([0.5]))
    worker.submit(fail)
    assert worker.poll(0.4) is None
    with pytest.raises(LookupError, match="no idea") as raised:
        worker.poll(0.5)
    assert raised.traceback[-1].name == "fail"


def test_a_thread_answers_each_call_once_and_ends() -> None:
    worker = ThreadWorker(RealClock())
    before = sys.getswitchinterval()
    for number in range(3):
        worker.submit(lambda number=number: (number, threading.current_thread().name))
        answer = answer_of(worker)
        assert answer.value == (number, "foreact-controller") and answer.ready_s <= RealClock().now()
        assert worker.poll(0.0) is None
    assert sys.getswitchinterval() < before
    assert worker.close() and worker.close()
    assert sys.getswitchinterval() == before
    assert "foreact-controller" not in [thread.name for thread in threading.enumerate()]


def test_a_failure_in_the_thread_arrives_with_its_traceback() -> None:
    worker = ThreadWorker(RealClock())
    worker.submit(fail)
    with pytest.raises(LookupError, match="no idea") as raised:
        answer_of(worker)
    assert raised.traceback[-1].name == "fail"
    worker.submit(lambda: "it goes on")
    assert answer_of(worker).value == "it goes on"
    assert worker.close()


def test_an_answer_that_comes_after_the_end_is_no_later_ones() -> None:
    release, worker = threading.Event(), ThreadWorker(RealClock(), close_s=0.01)
    worker.submit(lambda: release.wait(10) and "stale")
    stuck = next(thread for thread in threading.enumerate() if thread.name == "foreact-controller")
    assert not worker.close()
    release.set()
    stuck.join(10)
    worker.submit(lambda: "fresh")
    assert answer_of(worker).value == "fresh"
    assert worker.close()
