"""Where finished and half-finished work lies, whatever study asked for it: `store/KIND/DIGEST/`.

Each folder holds `config.json` (the settings, readable), what the work itself writes, and `finished.json` once it is
done. A study only refers to these folders; deleting one makes it be done again. What was measured on another machine
and is known from its ledger is not measured again.
"""

import fcntl
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import foreact
from foreact.errors import CheckpointError
from foreact.folders import remove_leftovers
from foreact.settings import read_json
from foreact.studies.ledger import Entry, Ledger
from foreact.studies.work import Measurement, OnProgress, Row, Work, digest, write_json

CONFIG_FILE = "config.json"
FINISHED_FILE = "finished.json"
LOCK_FILE = "lock"
TELLING_S = 20.0
"""Work that is reckoned to take less says nothing of what longer work takes: too much of it is beginning and ending."""


@dataclass(frozen=True)
class Store:
    """All work under one folder."""

    root: Path
    ledger: Ledger = field(default_factory=dict, repr=False)
    """What is known of work that may lie elsewhere."""

    def folder(self, work: Work) -> Path:
        """Return where the work lies, or will lie."""
        return self.root / self.key(work)

    def key(self, work: Work) -> str:
        """Return the work's folder under the root, its name in a ledger too."""
        return f"{work.kind}/{digest(work)}"

    def is_done(self, work: Work) -> bool:
        """Return whether all units of the work are done here, or are known from the ledger."""
        path = self.folder(work) / FINISHED_FILE
        is_here = path.exists() and json.loads(path.read_text())["size"] >= work.size
        return is_here or len(self._known(work)) >= work.size

    def rows(self, work: Measurement) -> list[Row]:
        """Return what was measured here, or, where the ledger knows more, what it knows."""
        here, known = work.read(self), self._known(work)
        return here if len(here) >= len(known) else known

    def _known(self, work: Work) -> list[Row]:
        entry = self.ledger.get(self.key(work)) if self.ledger else None
        return entry["rows"][: work.size] if entry else []

    def perform(self, work: Work, device: str, on_progress: OnProgress) -> bool:
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
                remove_leftovers(folder)
                self._claim(folder, work)
                meter = _Meter(on_progress)
                work.perform(folder, self, device, meter)
                write_json(folder / FINISHED_FILE, {"size": work.size, **meter.cost(work)})
            return True

    def _claim(self, folder: Path, work: Work) -> None:
        path = folder / CONFIG_FILE
        details = json.loads(json.dumps(work.fingerprint()))
        if path.exists() and read_json(path)["settings"] != details:
            raise CheckpointError(f"folder {folder}", got="work of other settings", cure="delete it to begin anew")
        write_json(path, {"foreact": foreact.__version__, "kind": work.kind, "title": work.title, "settings": details})

    def extended_ledger(self, measurements: Iterable[Measurement]) -> Ledger:
        """Return the ledger with all work that is finished here, and the rows of those measurements."""
        rows = {self.key(work): self.rows(work) for work in measurements if self.is_done(work)}
        known = self.finished()
        return {key: {**entry, "rows": rows.get(key, entry["rows"])} for key, entry in known.items()}

    def finished(self, kind: str = "*") -> Ledger:
        """Return all work, or that of a kind, which is finished here or in the ledger; its rows as the ledger has them.

        What was finished in both places cost what it cost here.
        """
        found = {key: entry for key, entry in self.ledger.items() if kind in ("*", key.split("/")[0])}
        for path in self.root.glob(f"{kind}/*/{FINISHED_FILE}"):
            key, cost = path.parent.relative_to(self.root).as_posix(), json.loads(path.read_text())
            found[key] = Entry(
                title=read_json(path.with_name(CONFIG_FILE))["title"],
                size=cost["size"],
                seconds=cost.get("seconds", 0.0),
                expected_s=cost.get("expected_s", 0.0),
                rows=found[key]["rows"] if key in found else [],
            )
        return found

    def spent_s(self) -> dict[str, float]:
        """Return by kind the seconds on one core that all finished work took."""
        spent: dict[str, float] = {}
        for key, entry in sorted(self.finished().items()):
            kind = key.split("/")[0]
            spent[kind] = spent.get(kind, 0.0) + entry["seconds"]
        return spent

    def pace(self, kind: str) -> float:
        """Return how many times as long as reckoned the finished work of a kind took; 1 where none tells."""
        telling = [entry for entry in self.finished(kind).values() if entry["expected_s"] >= TELLING_S]
        expected_s = sum(entry["expected_s"] for entry in telling)
        return sum(entry["seconds"] for entry in telling) / expected_s if telling else 1.0


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

    on_progress: OnProgress
    calls: list[tuple[int, float]] = field(default_factory=list)

    def __call__(self, done: int, total: int, figures: str) -> None:
        self.calls = [*self.calls[:1], (done, time.perf_counter())]
        self.on_progress(done, total, figures)

    def cost(self, work: Work) -> dict[str, Any]:
        """Return the seconds that all units would have taken at this call's pace; nothing if it did none."""
        if len(self.calls) < 2 or self.calls[1][0] <= self.calls[0][0]:
            return {}
        (first, begun), (last, ended) = self.calls
        return {"seconds": (ended - begun) * work.size / (last - first), "expected_s": work.expected_s}
