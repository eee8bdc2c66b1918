"""Where turns are computed: in another thread, or at once with the answer held back in virtual time."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, runtime_checkable

from foreact.control.clock import Clock

_ROUNDING_S = 1e-9
"""Sums of tick lengths are not exact; an answer due this much later is there."""
_SWITCH_S = 0.0005


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a submitted call returned."""

    value: Any
    ready_s: float
    """When, by the clock."""


@runtime_checkable
class Worker(Protocol):
    """Computes one call at a time while the robot is driven on."""

    def submit(self, call: Callable[[], Any]) -> None:
        """Begin a call; the one before must have been answered."""
        ...

    def poll(self, now_s: float) -> Answer | None:
        """The answer if there is one by now, once; raises what the call raised."""
        ...

    def close(self) -> bool:
        """Compute no more; False if a call would not end."""
        ...


class VirtualWorker:
    """Computes at once, in no time of the clock's; the answer is held back for as long as the next latency says."""

    def __init__(self, clock: Clock, latencies_s: Iterator[float]):
        """Wait for calls.

        Args:
            clock: The one the loop goes by.
            latencies_s: Seconds until each answer, for example `foreact.control.latency.constant(0.16)`.
        """
        self._clock, self._latencies_s = clock, latencies_s
        self._answer: Answer | None = None

    def submit(self, call: Callable[[], Any]) -> None:
        """Call."""
        outcome = _outcome(call)
        self._answer = Answer(value=outcome, ready_s=self._clock.now() + next(self._latencies_s))

    def poll(self, now_s: float) -> Answer | None:
        """The answer once its latency has passed; raises what the call raised."""
        answer = self._answer
        if answer is None or now_s < answer.ready_s - _ROUNDING_S:
            return None
        self._answer = None
        return _raise_failure(answer)

    def close(self) -> bool:
        """Forget an answer held back."""
        self._answer = None
        return True


class ThreadWorker:
    """Computes in one background thread, which begins with the first call and ends with `close`.

    While it runs, Python's threads take turns every half millisecond rather than every five: else a controller's
    Python code could keep the control loop from a deadline for that long.
    """

    def __init__(self, clock: Clock, *, close_s: float = 5.0):
        """Start no thread yet.

        Args:
            clock: Tells when an answer was ready.
            close_s: Seconds that `close` waits for a call under way; the thread never keeps the process from ending.
        """
        self._clock, self._close_s = clock, close_s
        self._calls, self._answers = SimpleQueue(), SimpleQueue()
        self._thread: Thread | None = None
        self._switch_before_s = sys.getswitchinterval()

    def submit(self, call: Callable[[], Any]) -> None:
        """Hand the call to the thread."""
        if self._thread is None:
            self._switch_before_s = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_S)
            queues = self._calls, self._answers
            self._thread = Thread(target=self._work, args=queues, name="foreact-controller", daemon=True)
            self._thread.start()
        self._calls.put(call)

    def poll(self, now_s: float) -> Answer | None:
        """The answer if there is one; raises what the call raised, with its traceback."""
        return None if self._answers.empty() else _raise_failure(self._answers.get())

    def close(self) -> bool:
        """End the thread after the call under way, whose answer is forgotten; False if that takes too long."""
        thread, self._thread = self._thread, None
        if thread is None:
            return True
        self._calls.put(None)
        self._calls, self._answers = SimpleQueue(), SimpleQueue()
        thread.join(self._close_s)
        sys.setswitchinterval(self._switch_before_s)
        return not thread.is_alive()

    def _work(self, calls: SimpleQueue, answers: SimpleQueue) -> None:
        while (call := calls.get()) is not None:
            outcome = _outcome(call)
            answers.put(Answer(value=outcome, ready_s=self._clock.now()))


@dataclass(frozen=True)
class _Failure:
    error: BaseException


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BaseException as error:  # in the end raised where the loop polls, whatever it is
        return _Failure(error)


def _raise_failure(answer: Answer) -> Answer:
    if isinstance(answer.value, _Failure):
        raise answer.value.error
    return answer
