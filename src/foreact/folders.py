"""Folders that commands write to: one writer each, leftovers of killed ones removed, room checked before the work."""

import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from foreact.errors import ConfigurationError

LOCK_FILE, OWNER_FILE = ".writer.lock", ".writer"
_TEMPORARY = re.compile(r"\..+[.-](\d+)(?:-\d{5})?\.tmp")
"""What `write_whole` and `ShardWriter` call a file until it is whole; the number is the process's."""


GB = 1e9


def check_room(folder: Path, num_bytes: int) -> int:
    """Refuse to begin what does not fit on the disk; return the free bytes there.

    Args:
        folder: Where it is to be written; it need not exist yet.
        num_bytes: How much will be written.

    Raises:
        ConfigurationError: The disk has less than that free.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < num_bytes:
        raise ConfigurationError(
            f"disk space for {folder}",
            got=f"{free / GB:.3g} GB free",
            allowed=f"{num_bytes / GB:.3g} GB or more",
            cure="free some space, or choose another disk",
        )
    return free


def check_writable(folder: Path) -> None:
    """Make a folder if it is missing, and refuse one in which no file can be made; for folders with several writers.

    Raises:
        ConfigurationError: Nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        raise ConfigurationError(f"folder {folder}", got=error, allowed="a folder that can be written to") from error


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only one who writes to a folder while the block runs; it is made if it is missing.

    The lock is the operating system's: it goes with the process, however that ends.

    Raises:
        ConfigurationError: Somebody else writes to it, or nothing can be written there; before anything was done.
    """
    made, is_first = not folder.exists(), not (folder / LOCK_FILE).exists()
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
        remove_leftovers(folder)
        yield
    except BaseException:
        if is_first:  # most likely the settings were wrong: leave no trace in a folder that is of something else
            with suppress(OSError):
                (folder / LOCK_FILE).unlink()
        raise
    finally:
        with suppress(OSError):
            (folder / OWNER_FILE).unlink(missing_ok=True)
        lock.release()
        if made:
            with suppress(OSError):
                folder.rmdir()  # which only an empty folder can be


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


def remove_leftovers(folder: Path) -> None:
    """Remove files that were never finished, by processes that no longer run; for whoever holds the folder."""
    # Not all the way down: the folder may be a large one of something else, and ours are no deeper.
    for path in (path for pattern in ("*.tmp", "*/*.tmp", "*/*/*.tmp") for path in folder.glob(pattern)):
        found = _TEMPORARY.fullmatch(path.name)
        if found is not None and not psutil.pid_exists(int(found[1])):
            with suppress(OSError):
                path.unlink()
