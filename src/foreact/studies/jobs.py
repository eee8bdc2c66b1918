"""What a study still has to do, and in which order."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import Literal

from foreact.studies.store import Store
from foreact.studies.work import Work, digest

RETRY_S = 2.0
"""After so long, work that another process was at is looked at again."""


class Job:
    """One piece of work with its name, which takes a moment to reckon."""

    def __init__(self, work: Work):
        self.work = work

    @cached_property
    def key(self) -> str:
        """The work's digest."""
        return digest(self.work)

    @cached_property
    def needs(self) -> frozenset[str]:
        """Digests of what must be done first."""
        return frozenset(digest(needed) for needed in self.work.needs())


def jobs_of(wanted: Iterable[Work], store: Store) -> list[Job]:
    """Return all work that is wanted, or needed for it, and not done yet: each once, what is needed first.

    What is needed only by finished work is left out. Of work that is asked for in two sizes the larger is done.
    """
    found: dict[str, Job] = {}

    def add(work: Work) -> None:
        job = Job(work)
        known = found.get(job.key)
        if (known and known.work.size >= work.size) or store.is_done(work):
            return
        for needed in work.needs():
            add(needed)
        found[job.key] = job

    for work in wanted:
        add(work)
    return list(found.values())


def estimate_s(works: Iterable[Work], store: Store) -> float:
    """Return the seconds on one core that work will take, judging by what finished work of its kinds took."""
    works = list(works)
    paces = {kind: store.pace(kind) for kind in {work.kind for work in works}}
    return fsum(work.expected_s * paces[work.kind] for work in works)


@dataclass(frozen=True, kw_only=True)
class WorkEvent:
    """What became of a job."""

    job: Job
    state: Literal["begun", "working", "done", "failed", "elsewhere"]
    """Elsewhere: another process is at it."""
    done: int = 0
    """Units, those of earlier calls among them."""
    figures: str = ""
    """A few numbers; of a failed job the reason."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call of `run` left."""

    failed: dict[str, str]
    """Digest to reason."""
    left: list[Job]
    """What was not done: the budget was spent, or something it needs failed."""


class JobQueue:
    """Which job may begin now. It computes nothing and starts nothing itself."""

    def __init__(self, jobs: Iterable[Job]):
        """Begin with jobs that are not done, none of which is under way here."""
        self._open = {job.key: job for job in jobs}
        self._begun: set[str] = set()
        self._not_before: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        """Digest to reason, of what failed here."""

    def next(self) -> Job | None:
        """Return the first job that may begin, counted as begun; None if there is none at this time."""
        for key, job in self._open.items():
            early = self._not_before.get(key, 0.0) > time.monotonic()
            if key not in self._begun and not early and not job.needs & self._open.keys():
                self._begun.add(key)
                return job
        return None

    def hear(self, event: WorkEvent) -> None:
        """Take off what is done; remember what failed, and look again later at what another process does."""
        if event.state == "done":
            del self._open[event.job.key]
        elif event.state == "failed":
            self.failed[event.job.key] = event.figures
        elif event.state == "elsewhere":
            self._begun.discard(event.job.key)
            self._not_before[event.job.key] = time.monotonic() + RETRY_S

    @property
    def is_waiting(self) -> bool:
        """Whether something may still begin, later if not now, without anything of what is under way here."""
        lost = self._begun & self._open.keys()  # what failed is among them, what is done is not
        for key, job in self._open.items():  # what is needed comes first
            if job.needs & lost:
                lost.add(key)
        return bool(self._open.keys() - lost)

    def left(self) -> list[Job]:
        """Return what is not done, but for what failed itself."""
        return [job for key, job in self._open.items() if key not in self.failed]
