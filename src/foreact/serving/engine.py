"""The thread that computes, so that the event loop never does."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf
from threading import Thread
from time import monotonic
from typing import Any

from foreact.policy.controllers import PolicyController
from foreact.serving.computing import BrokenSessionError, Question, compute, refusal
from foreact.serving.config import Batching
from foreact.serving.metrics import Metrics
from foreact.serving.queue import DueQueue, Urgency, Waiting
from foreact.types import ActionChunk

UNHURRIED_S = 0.25
"""Seconds in which what nothing depends on is due: a robot that moves comes first, but not for ever."""
_FORGETTING = 0.2


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A chunk, and how long it took."""

    chunk: ActionChunk
    queue_ms: float
    infer_ms: float
    batch_size: int

    @property
    def server_timing(self) -> dict[str, float]:
        """What a client is told."""
        return {"queue_ms": self.queue_ms, "infer_ms": self.infer_ms, "batch_size": float(self.batch_size)}


@dataclass(kw_only=True)
class _Job:
    what: Question | Callable[[], Any]
    deadline_s: float | None = None
    """When the robot runs out of actions; None: it stands still anyway."""
    future: Future = field(default_factory=Future)


class Durations:
    """How long computing so many together takes: what it took lately, of which the longest is forgotten slowly."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}
        """Seconds by the number computed together; 0: what is called alone."""

    def note(self, num: int, spent_s: float) -> None:
        """Take in how long computing so many took."""
        known_s = self._known.get(num, spent_s)
        self._known[num] = max(spent_s, known_s + _FORGETTING * (spent_s - known_s))

    def expected_s(self, num: int) -> float:
        """Return how long computing so many will take, rather too long than too short; 0 while nothing is known."""
        if num in self._known or num == 0:
            return self._known.get(num, 0.0)
        larger = [known_s for size, known_s in self._known.items() if size > num]
        smaller = [(size, known_s) for size, known_s in self._known.items() if 0 < size < num]
        at_most_s = min(larger, default=inf)
        if smaller:
            size, known_s = max(smaller)
            at_most_s = min(at_most_s, known_s * num / size)
        return 0.0 if at_most_s == inf else at_most_s


class Engine:
    """Answers questions of many sessions, in batches; also calls what else must not be called on the event loop."""

    def __init__(self, batching: Batching, metrics: Metrics, *, most_waiting: int, num_clients: Callable[[], int]):
        """Start the thread.

        Args:
            batching: What is computed together.
            metrics: Counts.
            most_waiting: Beyond it, `busy`.
            num_clients: How many could be asking at once.
        """
        self._queue: DueQueue[_Job] = DueQueue(most_waiting, batching, num_clients)
        self._metrics = metrics
        self._moving, self._waiting = (
            Durations(),
            Durations(),
        )  # a robot's turn takes less than somebody's first picture
        self._begun_s: float | None = None
        self._thread = Thread(target=self._work, name="foreact-inference", daemon=True)
        self._thread.start()

    def ask(self, question: Question, *, moves_s: float = 0.0, urgency: Urgency = Urgency.MOVES) -> "Future[Computed]":
        """Return what will be the answer; it raises RefusalError or BrokenSessionError.

        Args:
            question: All those asked at a time are of different controllers of one policy.
            moves_s: Seconds for which the robot has actions left.
            urgency: Whether it can wait until no robot that moves is about to ask.

        Raises:
            RefusalError: busy or shutting_down.
        """
        deadline_s = monotonic() + moves_s if moves_s else None
        asker = id(question.controller) if moves_s or urgency is not Urgency.MOVES else None
        return self._put(_Job(what=question, deadline_s=deadline_s), batchable=True, urgency=urgency, asker=asker)

    def call(
        self, work: Callable[[], Any], *, urgency: Urgency = Urgency.MOVES, asker: PolicyController | None = None
    ) -> Future:
        """Return what will be the result of calling `work` on the thread; it raises what `ask`'s answers do.

        Args:
            work: Anything.
            urgency: Whether it can wait until no robot that moves is about to ask.
            asker: Whose it is, if it is a robot's.

        Raises:
            RefusalError: busy or shutting_down.
        """
        return self._put(_Job(what=work), batchable=False, urgency=urgency, asker=None if asker is None else id(asker))

    @property
    def busy_s(self) -> float:
        """Seconds for which the thread has been at what it is doing; 0 when nothing waits."""
        begun_s = self._begun_s
        return 0.0 if begun_s is None else monotonic() - begun_s

    def close(self) -> None:
        """Compute what waits, then end; returns when that is done."""
        self._queue.close()
        self._thread.join()

    def _put(self, job: _Job, *, batchable: bool, urgency: Urgency, asker: int | None = None) -> Future:
        due_s = monotonic() + UNHURRIED_S if job.deadline_s is None else job.deadline_s
        self._queue.put(job, due_s=due_s, batchable=batchable, urgency=urgency, asker=asker)
        self._metrics.queue.set(len(self._queue))
        return job.future

    def _work(self) -> None:
        while batch := self._queue.take(self._waiting.expected_s, self._moving.expected_s(1)):
            self._metrics.queue.set(len(self._queue))
            wanted = [each for each in batch if each.item.future.set_running_or_notify_cancel()]
            self._begun_s = monotonic()
            if batch[0].batchable:
                self._answer(wanted)
            else:
                for each in wanted:
                    self._call(each.item)
            self._begun_s = None

    def _call(self, job: _Job) -> None:
        begun_s = monotonic()
        try:
            job.future.set_result(job.what())  # type: ignore[operator]
        except Exception as error:
            job.future.set_exception(_told(error))
        self._waiting.note(0, monotonic() - begun_s)

    def _answer(self, batch: list[Waiting[_Job]]) -> None:
        if not batch:
            return
        begun_s = monotonic()
        try:
            answers = compute([each.item.what for each in batch])  # type: ignore[misc]
        except Exception as error:  # nothing is known to lead here; the thread must live on whatever does
            answers = [_told(error)] * len(batch)
        ended_s = monotonic()
        spent_s = ended_s - begun_s
        (self._moving if batch[0].urgency is Urgency.MOVES else self._waiting).note(len(batch), spent_s)
        self._metrics.infer_s.observe(spent_s)
        self._metrics.batch_size.observe(len(batch))
        for each, answer in zip(batch, answers, strict=True):
            waited_s = begun_s - each.since_s
            self._metrics.queue_s.observe(waited_s)
            if isinstance(answer, Exception):
                each.item.future.set_exception(answer)
                continue
            deadline_s = each.item.deadline_s
            late = deadline_s is not None and ended_s > deadline_s
            self._metrics.count_chunk(answer.stage_ms, answer.disagreement, late=late)
            computed = Computed(chunk=answer, queue_ms=waited_s * 1e3, infer_ms=spent_s * 1e3, batch_size=len(batch))
            each.item.future.set_result(computed)


def _told(error: Exception) -> Exception:
    if (refused := refusal(error)) is not None:
        return refused
    broken = BrokenSessionError(str(error))
    broken.__cause__ = error
    return broken
