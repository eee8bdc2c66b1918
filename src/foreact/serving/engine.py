"""The thread that computes, so that the event loop never does."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread
from time import monotonic
from typing import Any

from foreact.serving.computing import BrokenSessionError, Question, compute, refusal
from foreact.serving.config import Batching
from foreact.serving.metrics import Metrics
from foreact.serving.queue import DueQueue, Waiting
from foreact.types import ActionChunk

UNHURRIED_S = 0.25
"""Seconds in which what nothing depends on is due: a robot that moves comes first, but not for ever."""
_SMOOTHING = 0.2


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
        self._expected_s = 0.0
        self._begun_s: float | None = None
        self._thread = Thread(target=self._work, name="foreact-inference", daemon=True)
        self._thread.start()

    def ask(self, question: Question, *, moves_s: float = 0.0, can_wait: bool = False) -> "Future[Computed]":
        """Return what will be the answer; it raises RefusalError or BrokenSessionError.

        Args:
            question: All those asked at a time are of different controllers of one policy.
            moves_s: Seconds for which the robot has actions left.
            can_wait: Whether it comes after all questions that cannot, those of robots that are about to ask included.

        Raises:
            RefusalError: busy or shutting_down.
        """
        deadline_s = monotonic() + moves_s if moves_s else None
        asker = id(question.controller) if moves_s else None
        return self._put(_Job(what=question, deadline_s=deadline_s), batchable=True, can_wait=can_wait, asker=asker)

    def call(self, work: Callable[[], Any], *, can_wait: bool = False) -> Future:
        """Return what will be the result of calling `work` on the thread; it raises what `ask`'s answers do.

        Args:
            work: Anything.
            can_wait: Whether it comes after everything that cannot.

        Raises:
            RefusalError: busy or shutting_down.
        """
        return self._put(_Job(what=work), batchable=False, can_wait=can_wait)

    @property
    def busy_s(self) -> float:
        """Seconds for which the thread has been at what it is doing; 0 when nothing waits."""
        begun_s = self._begun_s
        return 0.0 if begun_s is None else monotonic() - begun_s

    def close(self) -> None:
        """Compute what waits, then end; returns when that is done."""
        self._queue.close()
        self._thread.join()

    def _put(self, job: _Job, *, batchable: bool, can_wait: bool, asker: int | None = None) -> Future:
        due_s = monotonic() + UNHURRIED_S if job.deadline_s is None else job.deadline_s
        self._queue.put(job, due_s=due_s, batchable=batchable, can_wait=can_wait, asker=asker)
        self._metrics.queue.set(len(self._queue))
        return job.future

    def _work(self) -> None:
        while batch := self._queue.take(self._expected_s):
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
        try:
            job.future.set_result(job.what())  # type: ignore[operator]
        except Exception as error:
            job.future.set_exception(_told(error))

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
        self._expected_s += _SMOOTHING * (spent_s - self._expected_s)
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
