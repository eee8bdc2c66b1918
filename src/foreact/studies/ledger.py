"""What is known of finished work without the work itself: one file that travels with the documents.

Weights, demonstrations and videos stay where they were made. The figures of every unit are small, and enough for all
reports: with the ledger, what was measured on one machine need not be measured again on another.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from foreact.errors import CheckpointError
from foreact.files import write_whole
from foreact.settings import read_json
from foreact.studies.work import Row

LEDGER_FILE = "ledger.json"


class Entry(TypedDict):
    """A piece of finished work."""

    title: str
    """In words."""
    size: int
    """Units: steps, episodes."""
    seconds: float
    """That all of them take on one core, at the pace of the call that ended the work; 0: not known."""
    expected_s: float
    """As reckoned beforehand; 0 likewise."""
    rows: list[Row]
    """Of a measurement the figures, a row a unit; of other work none."""


Ledger = Mapping[str, Entry]
"""By KIND/DIGEST, the work's folder in a store."""


def read_ledger(folder: Path) -> Ledger:
    """Return the ledger in a folder; an empty one if there is none.

    Raises:
        CheckpointError: It is damaged.
    """
    path = folder / LEDGER_FILE
    ledger = read_json(path) if path.exists() else {}
    for key, entry in ledger.items():
        if not isinstance(entry, dict) or set(entry) != Entry.__required_keys__:
            allowed = ", ".join(sorted(Entry.__required_keys__))
            raise CheckpointError(f"{key} in {path}", got=str(entry)[:60], allowed=allowed, cure="get the file anew")
    return ledger


def write_ledger(folder: Path, ledger: Ledger) -> None:
    """Write a ledger, whole or not at all: one line an entry, in the order of their names."""
    lines = [f"{json.dumps(key)}: {json.dumps(ledger[key], allow_nan=False)}" for key in sorted(ledger)]
    write_whole(folder / LEDGER_FILE, "\n".join(["{", ",\n".join(lines), "}", ""]).encode())
