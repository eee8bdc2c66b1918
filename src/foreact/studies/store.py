"""Where finished and half-finished work lies, whatever study asked for it: `store/KIND/DIGEST/`.

Each folder holds `config.json` (the settings, readable), what the work itself writes, and `finished.json` once it is
done. A study only refers to these folders; deleting one makes it be done again.
"""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import foreact
from foreact.errors import CheckpointError
from foreact.settings import read_json
from foreact.studies.work import Tell, Work, digest, write_json

CONFIG_FILE = "config.json"
FINISHED_FILE = "finished.json"
LOCK_FILE = "lock"
TELLING_S = 20.0
"""Work that is reckoned to take less says nothing of what longer work takes: too much of it is beginning and ending."""


@dataclass(frozen=True)
class Store:
    """All work under one folder."""

    root: Path

    def folder(self, work: Work) -> Path:
        """Return where the work lies, or will lie."""
        return self.root / work.kind / digest(work)

    def is_done(self, work: Work) -> bool:
        """Return whether all units of the work are done."""
        path = self.folder(work) / FINISHED_FILE
        return path.exists() and json.loads(path.read_text())["size"] >= work.size

    def perform(self, work: Work, device: str, tell: Tell) -> bool:
        """Do what is left of the work, unless another process is at it; return whether it is done now.

        Raises:
            CheckpointError: The folder is of other settings: it was changed by hand.
        """
        folder = self.folder(work)
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder) as mine:
            if not mine:
                return False
            if not self.is_done(work):
                self._claim(folder, work)
                meter = _Meter(tell)
                work.perform(folder, self, device, meter)
                write_json(folder / FINISHED_FILE, {"size": work.size, **meter.cost(work)})
            return True

    def _claim(self, folder: Path, work: Work) -> None:
        path = folder / CONFIG_FILE
        told = json.loads(json.dumps(work.told()))
        if path.exists() and read_json(path)["settings"] != told:
            raise CheckpointError(f"folder {folder}", got="work of other settings", cure="delete it to begin anew")
        write_json(path, {"foreact": foreact.__version__, "kind": work.kind, "title": work.title, "settings": told})

    def spent_s(self) -> dict[str, float]:
        """Return by kind the seconds on one core that all finished work took, at the pace of the call that ended it."""
        spent: dict[str, float] = {}
        for path in sorted(self.root.glob(f"*/*/{FINISHED_FILE}")):
            kind = path.parent.parent.name
            spent[kind] = spent.get(kind, 0.0) + json.loads(path.read_text()).get("seconds", 0.0)
        return spent

    def pace(self, kind: str) -> float:
        """Return how many times as long as reckoned the finished work of a kind took; 1 where none tells."""
        taken = [json.loads(path.read_text()) for path in (self.root / kind).glob(f"*/{FINISHED_FILE}")]
        telling = [cost for cost in taken if cost.get("expected_s", 0.0) >= TELLING_S]
        expected_s = sum(cost["expected_s"] for cost in telling)
        return sum(cost["seconds"] for cost in telling) / expected_s if telling else 1.0


@contextmanager
def lock(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a folder against all other processes; give whether it could be had.

    The system frees it when the process ends, however it ends: there is no stale lock to clean up. On a network file
    system it holds across machines where that system carries POSIX locks (NFS 4 does).
    """
    with (folder / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


@dataclass
class _Meter:
    """Passes on what it is told, and knows what a unit cost in this call."""

    tell: Tell
    calls: list[tuple[int, float]] = field(default_factory=list)

    def __call__(self, done: int, total: int, figures: str) -> None:
        self.calls = [*self.calls[:1], (done, time.perf_counter())]
        self.tell(done, total, figures)

    def cost(self, work: Work) -> dict[str, Any]:
        """Return the seconds that all units would have taken at this call's pace; nothing if it did none."""
        if len(self.calls) < 2 or self.calls[1][0] <= self.calls[0][0]:
            return {}
        (first, begun), (last, ended) = self.calls
        return {"seconds": (ended - begun) * work.size / (last - first), "expected_s": work.expected_s}
