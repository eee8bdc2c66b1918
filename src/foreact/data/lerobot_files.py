"""The files of a LeRobot v3.0 dataset: their names, reading one, writing several as one step."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from foreact.data.bounds import check_json_size, check_regular
from foreact.errors import DatasetError
from foreact.files import LFS_CURE, is_lfs_pointer

INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
CHUNKS_SIZE = 1000
"""Files per chunk directory."""

EPISODES_PER_META_FILE = 100
"""Rows per file of `meta/episodes`: only the last file is replaced when an episode is added."""
PARTIAL_SUFFIX = ".partial"
"""Ends the name of a file that is being written. No reader looks for such a name."""

CURE = "download or record the dataset again"


def place_of(number: int) -> dict[str, int]:
    """Return where file `number` lies."""
    return {"chunk_index": number // CHUNKS_SIZE, "file_index": number % CHUNKS_SIZE}


def meta_place_of(episode: int) -> dict[str, int]:
    """Return where the row of an episode lies."""
    return place_of(episode // EPISODES_PER_META_FILE)


def parse_file(path: Path, parse: Callable[[], Any]) -> Any:
    """Return what `parse` makes of a file.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    refuse_pointer(path)
    try:
        return parse()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing", cure=CURE) from error
    except PermissionError as error:
        raise DatasetError(f"{path} may not be read", got=error.strerror, cure="check its permissions") from error
    except RecursionError as error:
        raise DatasetError(f"{path} is damaged", got="tables within tables, too deep to be read", cure=CURE) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(f"{path} is damaged", got=str(error), cure=CURE) from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON lines file. Only a line feed ends a line: strings may hold other separators.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    return parse_file(path, lambda: [json.loads(line) for line in _text(path).split("\n") if line.strip()])


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    check_json_size(path)
    return parse_file(path, lambda: json.loads(_text(path)))


def _text(path: Path) -> str:
    """Return a file's text; a byte order mark, as Windows' editors write it, is passed over."""
    return path.read_text(encoding="utf-8-sig")


def refuse_pointer(path: Path) -> None:
    """Refuse a file whose content was never fetched.

    Raises:
        DatasetError: It is a git-lfs pointer, or empty, or no regular file.
    """
    check_regular(path)
    if is_lfs_pointer(path):
        raise DatasetError(f"{path} is a git-lfs pointer, not the file itself", cure=LFS_CURE)
    if path.is_file() and path.stat().st_size == 0:
        raise DatasetError(f"{path} is empty, and therefore damaged", got="0 bytes", cure=CURE)


def stage_files(contents: Mapping[Path, bytes]) -> None:
    """Write every file in full beside its final place, or none of them.

    Raises:
        DatasetError: The disk is full, or refuses; what was staged is removed again.
    """
    staged: list[Path] = []
    try:
        for path, content in contents.items():
            partial = path.with_name(path.name + PARTIAL_SUFFIX)
            staged.append(partial)
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
    except BaseException as error:
        for partial in staged:
            with contextlib.suppress(OSError):
                partial.unlink()
        if not isinstance(error, OSError):
            raise
        raise DatasetError(
            f"{staged[-1].parent} cannot be written",
            got=error.strerror or str(error),
            cure="make room and run again: what was recorded before is intact and will be carried on",
        ) from error


def publish_files(paths: Iterable[Path]) -> None:
    """Move staged files to their places, in the order given: the last one is the commit point."""
    for path in paths:
        path.with_name(path.name + PARTIAL_SUFFIX).replace(path)


def remove_beyond(folder: Path, num_files: int) -> None:
    """Delete `chunk-XXX/file-YYY.*` numbered `num_files` and above, and everything half-written."""
    for path in folder.glob("chunk-*/file-*"):
        chunk, number = path.parent.name.removeprefix("chunk-"), path.name.split(".")[0].removeprefix("file-")
        if path.name.endswith(PARTIAL_SUFFIX) or int(chunk) * CHUNKS_SIZE + int(number) >= num_files:
            path.unlink()
