"""Jobs spread over processes of this machine, one thread each.

Work is resumable by itself and writes whole files: whatever is killed, a worker or the runner, loses what was under way
since the last file, and the next call goes on there. Results do not depend on the number of workers.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from foreact.errors import ConfigurationError, ForeactError
from foreact.files import write_whole
from foreact.studies.jobs import Job, JobQueue, Outcome, WorkEvent
from foreact.studies.store import Store

POLL_S = 0.5
ERROR_FILE = "error.txt"


def run(
    jobs: list[Job],
    store: Store,
    *,
    workers: int = 1,
    device: str = "cpu",
    budget_s: float | None = None,
    on_event: Callable[[WorkEvent], None] = lambda event: None,
) -> Outcome:
    """Do the jobs in their order, as many at a time as there are workers; a failing one does not stop the others.

    Args:
        jobs: Of `jobs_of`.
        store: Where they are kept.
        workers: Processes.
        device: Where each of them computes.
        budget_s: Wall-clock seconds after which no further job is begun; None: all are.
        on_event: Told everything as it happens, in this process.

    Raises:
        ConfigurationError: Less than one worker.
    """
    if workers < 1:
        raise ConfigurationError("workers", got=workers, allowed="1 or more")
    queue, pool = JobQueue(jobs), _WorkerPool(store, device, workers)
    until = float("inf") if budget_s is None else time.monotonic() + budget_s
    try:
        while True:
            while time.monotonic() < until and pool.has_room and (job := queue.next()):
                on_event(WorkEvent(job=job, state="begun"))
                pool.give(job)
            if not pool.busy and (time.monotonic() >= until or not queue.is_waiting):
                return Outcome(failed=queue.failed, left=queue.left())
            for event in pool.listen(POLL_S):
                queue.hear(event)
                on_event(event)
    finally:
        pool.stop()


class _WorkerPool:
    """Worker processes; one that dies is replaced, and its job has failed."""

    def __init__(self, store: Store, device: str, size: int):
        self._store, self._device, self._size = store, device, size
        self._context = multiprocessing.get_context("spawn")
        self._idle: list[tuple[Any, Connection]] = []
        self.busy: dict[Connection, tuple[Any, Job]] = {}

    @property
    def has_room(self) -> bool:
        return len(self.busy) < self._size

    def give(self, job: Job) -> None:
        self._idle = [(process, ours) for process, ours in self._idle if process.is_alive()]
        process, ours = self._idle.pop() if self._idle else self._hire()
        self.busy[ours] = process, job
        with suppress(ConnectionError):  # it has just died, which will be heard of
            ours.send(job.work)

    def _hire(self) -> tuple[Any, Connection]:
        os.environ["OMP_NUM_THREADS"] = "1"  # read by libraries as the process begins
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work_for, args=(theirs, self._store, self._device), daemon=True)
        with interrupts_held():
            process.start()
        theirs.close()
        return process, ours

    def listen(self, seconds: float) -> list[WorkEvent]:
        """Return what was told within some seconds."""
        if not self.busy:
            time.sleep(seconds)
        return [self._hear(ours) for ours in wait(list(self.busy), seconds) if isinstance(ours, Connection)]

    def _hear(self, ours: Connection) -> WorkEvent:
        process, job = self.busy[ours]
        try:
            state, done, figures = ours.recv()
        except (EOFError, ConnectionError):
            process.join()
            del self.busy[ours]
            return WorkEvent(job=job, state="failed", figures=f"its process ended ({_ending(process.exitcode)})")
        if state != "working":
            del self.busy[ours]
            self._idle.append((process, ours))
        return WorkEvent(job=job, state=state, done=done, figures=figures)

    def stop(self) -> None:
        """End all workers; what was under way is resumed by the next call."""
        for process in [process for process, _ in [*self._idle, *self.busy.values()]]:
            process.terminate()
            process.join()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back, here for a moment and in a process started meanwhile for good: this one will end it."""
    resource_tracker.ensure_running()  # the first process would start it, and that lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending(exitcode: int | None) -> str:
    return signal.Signals(-exitcode).name if exitcode and exitcode < 0 else f"exit status {exitcode}"


def work_for(runner: Connection, store: Store, device: str) -> None:
    """Do what the runner sends, one piece after the other, until it is gone."""
    threading.Thread(target=_end_with_runner, daemon=True).start()
    while True:
        try:
            work = runner.recv()
            runner.send(perform(work, store, device, lambda now, _, details: runner.send(("working", now, details))))
        except (EOFError, ConnectionError):
            return  # the runner is gone: what is under way is left to the next one


def _end_with_runner() -> None:
    """End this process at once when the one that started it is gone, even by kill -9: it would be in the next's way."""
    runner = multiprocessing.parent_process()
    if runner is not None:
        runner.join()
        os._exit(1)


def perform(work: Any, store: Store, device: str, on_progress: Callable[[int, int, str], None]) -> tuple[str, int, str]:
    """Do one piece of work; return (done, failed or elsewhere, units, the reason if it failed)."""
    try:
        error = store.folder(work) / ERROR_FILE
        is_done = store.perform(work, device, on_progress)
        error.unlink(missing_ok=True)
        return ("done", work.size, "") if is_done else ("elsewhere", 0, "")
    except ConnectionError:
        raise  # the runner is gone: it is nothing of the work's
    except ForeactError as failure:
        return "failed", 0, str(failure)
    except Exception as failure:  # whatever it is, the others go on
        return "failed", 0, f"{type(failure).__name__}: {failure} (all of it in {_keep(store.folder(work))})"


def _keep(folder: Path) -> Path:
    """Write down the whole of the error that is being handled."""
    write_whole(folder / ERROR_FILE, traceback.format_exc().encode())
    return folder / ERROR_FILE
