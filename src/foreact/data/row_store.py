"""Rows of parquet files: which belong to an episode, and their columns, each file and row group read once.

One file may hold thousands of episodes. Its numbers (episode_index, frame_index, index) are read once and kept, and so
are the row groups that were read last, so that going through all episodes costs one pass over the files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from foreact.data.bounds import open_parquet
from foreact.data.lerobot_files import CURE, parse_file
from foreact.data.row_checks import check_row_numbers
from foreact.errors import DatasetError

KEPT_FILES = 16
KEPT_GROUPS = 4
"""Row groups kept with their columns; LeRobot writes one per episode, pandas up to a million rows."""
NUMBERS = ("episode_index", "frame_index", "index")


@dataclass(frozen=True, kw_only=True, eq=False)
class TableFile:
    """What is known of a parquet file without its columns."""

    path: Path
    """The file."""
    version: tuple[int, int]
    """Time of the last change (ns) and size (bytes): tells files of one name apart."""
    columns: tuple[str, ...]
    """Names of its columns."""
    group_starts: Int[np.ndarray, " groups"]
    """First row of each row group, and the number of rows."""
    numbers: dict[str, Int[np.ndarray, " rows"]]
    """The columns of `NUMBERS` that it has."""

    @property
    def num_rows(self) -> int:
        """Rows of all episodes in it."""
        return int(self.group_starts[-1])

    def rows_of(self, number: int, length: int, first_index: int | None) -> Int[np.ndarray, " rows"]:
        """Return where an episode's rows are in the file, in the order of frame_index.

        Args:
            number: The episode's own number.
            length: Its rows, as `meta/` says.
            first_index: Its first row in the whole dataset (`dataset_from_index`), where `meta/` says so.

        Raises:
            DatasetError: Another number of rows is there, or rows are there twice.
        """
        rows = self._find(number, length, first_index)
        frame_index = self.numbers.get("frame_index")
        if frame_index is None:
            return rows
        rows = rows[np.argsort(frame_index[rows], kind="stable")]
        if finding := check_row_numbers(f"{self.path}, episode {number}", frame_index[rows]):
            raise finding.error()
        return rows

    def _find(self, number: int, length: int, first_index: int | None) -> Int[np.ndarray, " rows"]:
        episodes, indices = self.numbers.get("episode_index"), self.numbers.get("index")
        by_number = np.empty(0, int) if episodes is None else np.flatnonzero(episodes == number)
        by_index = np.empty(0, int)
        if first_index is not None and indices is not None:
            by_index = np.flatnonzero((indices >= first_index) & (indices < first_index + length))
        if len(by_number) == length:
            if len(by_index) == length and not np.array_equal(by_number, by_index):
                raise DatasetError(
                    f"{self.path}: rows of episode {number}",
                    got=f"episode_index finds rows {_span(by_number)}, dataset_from_index rows {_span(by_index)}",
                    allowed="the same rows both ways",
                    cure="the episodes were renumbered by half: write the dataset again with LeRobot's tools",
                )
            return by_number
        # The numbers of a dataset that was merged or split by hand may be out of date: LeRobot goes by `index`.
        if len(by_index) == length and (episodes is None or len(set(episodes[by_index].tolist())) == 1):
            return by_index
        if not len(by_number) and first_index is None and self.num_rows == length:
            return np.arange(length)  # a file of one episode
        got = max(len(by_number), len(by_index))
        raise DatasetError(f"{self.path}: rows of episode {number}", got=got, allowed=length, cure=CURE)

    def read(self, rows: Int[np.ndarray, " rows"], columns: Sequence[str]) -> pa.Table:
        """Return some columns of some rows, in the order asked.

        Raises:
            DatasetError: The file is damaged.
        """
        if not len(rows):
            return parse_file(self.path, lambda: _schema(self.path)).empty_table().select(columns)
        groups = np.searchsorted(self.group_starts, rows, side="right") - 1
        parts, order = [], []
        for group in np.unique(groups):
            here = np.flatnonzero(groups == group)
            local = rows[here] - self.group_starts[group]
            table = _read_group(self.path, self.version, int(group), tuple(columns))
            is_slice = bool((np.diff(local) == 1).all())
            parts.append(table.slice(int(local[0]), len(local)) if is_slice else table.take(pa.array(local)))
            order.append(here)
        whole = pa.concat_tables(parts)
        places = np.concatenate(order)
        return whole if (np.diff(places) == 1).all() else whole.take(pa.array(np.argsort(places)))


def open_table(path: Path) -> TableFile:
    """Return what is in a parquet file.

    Raises:
        DatasetError: It is missing or damaged.
    """
    status = parse_file(path, path.stat)
    return _open(path, (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=KEPT_FILES)
def _open(path: Path, version: tuple[int, int]) -> TableFile:
    def parse() -> TableFile:
        with open_parquet(path) as file:
            names = tuple(file.schema_arrow.names)
            sizes = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
            table = file.read(columns=[name for name in NUMBERS if name in names])
        numbers = {name: _integers(table.column(name)) for name in table.column_names}
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return TableFile(path=path, version=version, columns=names, group_starts=starts, numbers=numbers)

    return parse_file(path, parse)


def _schema(path: Path) -> pa.Schema:
    with open_parquet(path) as file:
        return file.schema_arrow


def _integers(column: pa.ChunkedArray) -> Int[np.ndarray, " rows"]:
    """Return a column of whole numbers, which may be stored as lists of one."""
    values = column.combine_chunks()
    while pa.types.is_nested(values.type):
        values = values.flatten()
    return values.to_numpy(zero_copy_only=False).astype(np.int64)


@lru_cache(maxsize=KEPT_GROUPS)
def _read_group(path: Path, version: tuple[int, int], group: int, columns: tuple[str, ...]) -> pa.Table:
    def parse() -> pa.Table:
        with open_parquet(path) as file:
            return file.read_row_group(group, columns=list(columns))

    return parse_file(path, parse)


def _span(rows: Int[np.ndarray, " rows"]) -> str:
    return f"{rows.min()} to {rows.max()}"
