"""Files written whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

READABLE = 0o644


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
