"""One writer a folder: who comes second is told who is there, and what a killed one left behind is removed."""

import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from foreact.errors import ConfigurationError

LOCK_FILE, OWNER_FILE = ".writer.lock", ".writer"
_TEMPORARY = re.compile(r"\..+[.-](\d+)(?:-\d{5})?\.tmp")
"""What `write_whole` and `ShardWriter` call a file until it is whole; the number is the process's."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only one who writes to a folder while the block runs; it is made if it is missing.

    The lock is the operating system's: it goes with the process, however that ends.

    Raises:
        ConfigurationError: Somebody else writes to it, or nothing can be written there; before anything was done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_FILE)
        lock.acquire(timeout=0)
    except Timeout as error:
        cure = "wait until it has ended, or choose another folder"
        raise ConfigurationError(f"folder {folder}", got=f"{_owner(folder)} writes to it", cure=cure) from error
    except OSError as error:
        raise ConfigurationError(f"folder {folder}", got=error, allowed="a folder that can be written to") from error
    try:
        _write_owner(folder)
        _remove_leftovers(folder)
        yield
    finally:
        with suppress(OSError):
            (folder / OWNER_FILE).unlink(missing_ok=True)
        lock.release()


def _write_owner(folder: Path) -> None:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    try:
        (folder / OWNER_FILE).write_text(f"process {os.getpid()} on {socket.gethostname()} ({command})")
    except OSError as error:
        raise ConfigurationError(f"folder {folder}", got=error, cure="free some space, or choose another") from error


def _owner(folder: Path) -> str:
    try:
        return (folder / OWNER_FILE).read_text(errors="replace")[:400] or "another process"
    except OSError:
        return "another process"


def _remove_leftovers(folder: Path) -> None:
    """Remove files that were never finished, by processes that are no more."""
    for path in folder.rglob("*.tmp"):
        found = _TEMPORARY.fullmatch(path.name)
        if found is not None and not psutil.pid_exists(int(found[1])):
            with suppress(OSError):
                path.unlink()
