"""Files written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

READABLE = 0o644
LFS_POINTER = b"version https://git-lfs"
LFS_CURE = "fetch the files it stands for: run `git lfs pull` in the folder, or download it with `hf download`"


def write_whole(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Write a file under a temporary name, flush it to disk, then move it into place.

    Whatever fails on the way (a full disk, an interrupt), the file that was there before survives and the temporary
    one is removed.

    Args:
        path: Where the file shall stand.
        content: Its bytes, or a function that writes them to the path it is given.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(READABLE)  # safetensors writes files that only their owner can read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is a git-lfs pointer: three lines that stand in for a large file that was not fetched."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False
