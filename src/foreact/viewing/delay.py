"""A worker whose answers come no sooner than a chosen latency, to see what a slower machine would do."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from foreact.control.clock import Clock
from foreact.control.worker import Answer, ThreadWorker


class DelayedWorker(ThreadWorker):
    """Computes in a thread; an answer that is ready early is held back until the latency has passed."""

    def __init__(self, clock: Clock, least_s: Callable[[], float]):
        """Start no thread yet.

        Args:
            clock: The one the control loop goes by.
            least_s: Returns the least seconds from a question to its answer; asked for every question.
        """
        super().__init__(clock)
        self._least_s, self._due_s = least_s, 0.0
        self.asked_s: float | None = None
        """When the question was asked that is not answered yet; None if there is none."""

    def submit(self, call: Callable[[], Any]) -> None:
        """Hand the call to the thread, and note when its answer may be seen."""
        self.asked_s = self._clock.now()
        self._due_s = self.asked_s + self._least_s()
        super().submit(call)

    def poll(self, now_s: float) -> Answer | None:
        """Return the answer once it is ready and its latency has passed; raises what the call raised."""
        answer = super().poll(now_s) if now_s >= self._due_s else None
        if answer is None:
            return None
        self.asked_s = None
        return replace(answer, ready_s=max(answer.ready_s, self._due_s))
