"""What a study's jobs have in common: plain settings that name it, what it needs first, and how it is done."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from foreact.files import write_whole
from foreact.settings import to_plain

Row = Mapping[str, Any]
"""Figures of one unit, under "unit" its number: the seed, or the episode of the dataset."""
OnProgress = Callable[[int, int, str], None]
"""Told (units done, of how many, figures): once before the first unit with what an earlier call had done, then after
each."""


@runtime_checkable
class WorkFolders(Protocol):
    """Where works lie; a `Store` is such. A work needs to know no more of it: it reads there what others have left."""

    def folder(self, work: "Work") -> Path:
        """Return where a work lies, or will lie."""
        ...


@runtime_checkable
class Work(Protocol):
    """One thing to do, wherever it is done: plain data, so that it can be sent to another process or machine."""

    kind: ClassVar[str]
    """Sort of work; a folder of the store."""

    @property
    def size(self) -> int:
        """Units in all: steps, episodes. Work of more units goes on from work of fewer, so they are not in `told`."""
        ...

    @property
    def expected_s(self) -> float:
        """Seconds on one core, as reckoned from the settings alone."""
        ...

    @property
    def title(self) -> str:
        """A few words for a progress bar."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """Return what the result depends on, as plain data; `digest` is its short name."""
        ...

    def needs(self) -> Sequence["Work"]:
        """Return what must be done first."""
        ...

    def perform(self, folder: Path, store: "WorkFolders", device: str, on_progress: OnProgress) -> None:
        """Do it, or what an interrupted call left of it, into `folder`."""
        ...


@runtime_checkable
class Measurement(Work, Protocol):
    """Work whose outcome is figures."""

    def read(self, store: "WorkFolders") -> list[Row]:
        """Return the figures of the units that are done, by number."""
        ...


def digest(work: Work) -> str:
    """Return a short name of the work's settings: equal settings, equal name, whatever study asks."""
    plain = json.dumps([work.kind, work.fingerprint()], sort_keys=True)
    return hashlib.blake2b(plain.encode(), digest_size=8).hexdigest()


def plain_settings(settings: Any) -> Any:
    """Return settings as plain data without those that are None: one that is added later changes no older digest."""
    plain = to_plain(settings)
    if isinstance(plain, dict):
        return {key: plain_settings(value) for key, value in plain.items() if value is not None}
    return plain


@cache
def digest_of(folder: str, patterns: tuple[str, ...]) -> str:
    """Return a short name of some of a folder's files, by their own names and bytes; where it lies does not count.

    They are read once in a process.
    """
    found, root = hashlib.blake2b(digest_size=8), Path(folder)
    paths = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        found.update(json.dumps([path.relative_to(root).as_posix(), path.stat().st_size]).encode())
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def write_json(path: Path, plain: Any) -> None:
    """Write plain data, whole or not at all; not-a-number is refused."""
    write_whole(path, (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode())
