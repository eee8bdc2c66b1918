"""What a dataset may ask for: paths inside its own folder, and sizes that are believable for the bytes on disk.

Datasets come from strangers. Everything here is checked before a file is decoded or an array is allocated, so that a
wrong or hostile dataset is refused at once, instead of reading other files of the machine or filling its memory.
"""

import math
import os
import re
import stat
import string
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from foreact.errors import DatasetError

MOST_JSON_BYTES = 16 * 2**20
"""Of a JSON file that is read as a whole; Python's objects take some ten times as much."""
MOST_FOOTER_BYTES = 32 * 2**20
"""Of a parquet file. LeRobot writes a row group an episode, and some hundred bytes of footer a column and row group."""
FREE_VALUES, VALUES_PER_BYTE = 2_000_000, 16
"""Values that a parquet column may announce: some, and more with the size of its file. A column of one repeated value
takes next to no bytes whatever its length, but a recording never consists of such columns alone."""
MOST_PIXELS = 8192 * 8192
"""Of one picture: twice 8K video."""
MOST_SIDE = 2**15
"""Pixels of a camera's height or width in `meta/info.json`."""
MOST_ENTRIES = 1_000_000
"""Numbers that a row of one column may hold."""
MOST_ROWS = 10_000_000
"""Rows of one episode: 55 hours at 50 Hz."""
MOST_EPISODES = 100_000_000

PLACES = frozenset({"chunk_index", "file_index", "episode_chunk", "episode_index", "video_key"})
"""Names that LeRobot's path patterns may contain, in all versions."""
_NUMBER_FORMAT = re.compile(r"(0?\d{1,2}d?)?")
"""`03d` and the like. A width of more than two digits would make a path of gigabytes."""


def check_pattern(root: Path, name: str, pattern: Any) -> None:
    """Refuse a path pattern of `meta/info.json` that LeRobot would not write.

    Raises:
        DatasetError: It is no text, is absolute, leaves the dataset, or contains anything but plain names of places.
    """
    if not isinstance(pattern, str) or not _is_safe_pattern(pattern):
        raise DatasetError(
            f"dataset {root}: {name} in meta/info.json",
            got=repr(pattern)[:120],
            allowed=f"a relative path inside the dataset, in which only {', '.join(sorted(PLACES))} stand in braces",
            cure="write the pattern as LeRobot does: data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        )


def _is_safe_pattern(pattern: str) -> bool:
    try:
        fields = [part[1:] for part in string.Formatter().parse(pattern) if part[1] is not None]
    except ValueError:
        return False
    known = all(n in PLACES and not conversion and _NUMBER_FORMAT.fullmatch(f or "") for n, f, conversion in fields)
    return known and len(pattern) < 1000 and _is_relative(pattern)


def _is_relative(path: str) -> bool:
    """Whether a path is relative on every system, and goes nowhere up."""
    is_rooted = path.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:", path)
    return not is_rooted and "\0" not in path and ".." not in re.split(r"[/\\]", path)


def check_inside(root: Path, paths: Iterable[Path]) -> None:
    """Refuse files that are not inside the dataset, links followed.

    The Hugging Face hub's cache keeps a snapshot as links to the files of the same repository: those are inside.

    Raises:
        DatasetError: A path leads out of the dataset.
    """
    homes = _homes(root)
    for path in paths:
        relative = os.path.relpath(path, root) if path.is_relative_to(root) else str(path)
        folder = _resolved(path.parent)
        place = path.resolve() if path.is_symlink() else folder / path.name
        if not _is_relative(relative) or not any(place.is_relative_to(home) for home in homes):
            raise DatasetError(
                f"dataset {root}: file {relative}",
                got=f"it leads to {place}",
                allowed="a file inside the dataset's folder",
                cure="copy the file into the dataset instead of linking to it",
            )


@lru_cache(maxsize=4096)
def _resolved(folder: Path) -> Path:
    """Return where a folder is. Kept, since a hundred thousand files lie in a few folders."""
    return folder.resolve()


def _homes(root: Path) -> tuple[Path, ...]:
    home = root.resolve()
    if home.parent.name == "snapshots":
        return home, home.parent.parent / "blobs"
    return (home,)


def check_regular(path: Path) -> None:
    """Refuse what is there but is no file: opening a pipe would wait for ever, and a device never ends.

    Raises:
        DatasetError: It is a folder, a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # whoever opens it says what is wrong
    if not stat.S_ISREG(mode):
        raise DatasetError(f"{path}", got="no regular file, but a folder, pipe or device", allowed="a regular file")


def check_json_size(path: Path) -> None:
    """Refuse a JSON file that is too large to be one of LeRobot's.

    Raises:
        DatasetError: It is larger than `MOST_JSON_BYTES`.
    """
    if path.is_file() and (size := path.stat().st_size) > MOST_JSON_BYTES:
        raise DatasetError(f"{path}", got=f"{size / 2**20:.0f} MiB", allowed=f"up to {MOST_JSON_BYTES / 2**20:.0f} MiB")


def check_info(root: Path, info: Mapping[str, Any]) -> None:
    """Refuse a `meta/info.json` whose sizes no recording has.

    Raises:
        DatasetError: Numbers of another kind or size than a dataset's.
    """

    def refuse(name: str, got: Any, allowed: str) -> DatasetError:
        return DatasetError(f"dataset {root}: {name} in meta/info.json", got=repr(got)[:120], allowed=allowed)

    if not _is_whole(info.get("total_episodes", 0), 0, MOST_EPISODES):
        raise refuse("total_episodes", info["total_episodes"], f"0 to {MOST_EPISODES}")
    fps = info["fps"]
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not math.isfinite(fps) or fps <= 0:
        raise refuse("fps", fps, "rows a second, more than 0")
    if not _is_whole(info.get("chunks_size") or 1, 1, MOST_EPISODES):
        raise refuse("chunks_size", info["chunks_size"], "files in a folder, 1 or more")
    for name, feature in info["features"].items():
        shape, is_camera = feature["shape"], feature["dtype"] in ("video", "image")
        most = MOST_SIDE if is_camera else MOST_ENTRIES
        sides = shape if isinstance(shape, list) else [shape]
        if not all(_is_whole(side, 0, most) for side in sides) or math.prod(sides) > (
            4 * MOST_PIXELS if is_camera else MOST_ENTRIES
        ):
            kind = "height, width and channels of a picture" if is_camera else f"up to {MOST_ENTRIES} numbers a row"
            raise refuse(f"shape of {name!r}", shape, kind)
    for name in ("data_path", "video_path"):
        if info.get(name) is not None:
            check_pattern(root, name, info[name])


def check_lengths(root: Path, numbers: np.ndarray, lengths: np.ndarray) -> None:
    """Refuse an episode of a length that no recording has.

    Raises:
        DatasetError: Fewer than no rows, or more than `MOST_ROWS`.
    """
    odd = np.flatnonzero((lengths < 0) | (lengths > MOST_ROWS))
    if len(odd):
        raise DatasetError(
            f"dataset {root}: rows of episode {numbers[odd[0]]}", got=lengths[odd[0]], allowed=f"0 to {MOST_ROWS}"
        )


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file whose announced sizes fit its bytes on disk; the caller closes it.

    Raises:
        DatasetError: It is no regular file, or announces more than it can hold.
        OSError, ValueError, pa.ArrowException: It is missing or damaged.
    """
    check_regular(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - 8))
        tail = stream.read(8)
    footer = int.from_bytes(tail[:4], "little")
    if MOST_FOOTER_BYTES < footer < size:  # one that is larger than the file is refused by pyarrow as damaged
        raise DatasetError(f"{path}: footer", got=f"{footer} bytes", allowed=f"up to {MOST_FOOTER_BYTES}")
    file = pq.ParquetFile(pa.OSFile(str(path)))
    try:
        _check_announced(path, size, file.metadata)
    except BaseException:
        file.close()
        raise
    return file


def _check_announced(path: Path, size: int, metadata: pq.FileMetaData) -> None:
    most = FREE_VALUES + VALUES_PER_BYTE * size
    counts = {"rows": metadata.num_rows}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name = f"values of {column.path_in_schema}"
            counts[name] = counts.get(name, 0) + column.num_values
    for name, count in counts.items():
        if not 0 <= count <= most:
            raise DatasetError(
                f"{path}: {name}",
                got=count,
                allowed=f"0 to {most}, for a file of {size} bytes",
                cure="the file says more than it holds: download or record the dataset again",
            )


def check_pixels(where: str, size: tuple[int, int]) -> None:
    """Refuse a picture too large for any camera.

    Args:
        where: What it is, for the message.
        size: Height and width.

    Raises:
        DatasetError: No pixels, or more than `MOST_PIXELS`.
    """
    if min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        raise DatasetError(where, got=f"{size[1]} x {size[0]} pixels", allowed=f"1 to {MOST_PIXELS} pixels a picture")
