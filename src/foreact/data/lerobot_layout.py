"""Where a LeRobot dataset keeps each episode: versions 2.0 to 3.1, brought to one form.

Everything is held in arrays, a few dozen bytes an episode, so that a hundred thousand episodes open in seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from foreact.data.bounds import check_info, check_inside, check_lengths, open_parquet
from foreact.data.lerobot_files import (
    CHUNKS_SIZE,
    CURE,
    INFO_PATH,
    STATS_PATH,
    TASKS_PATH,
    parse_file,
    read_json,
    read_json_lines,
)
from foreact.data.lerobot_stats import Summary, merge_stats, stats_from_lists
from foreact.errors import DatasetError

MANY = 8
"""Numbers in one message."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The part of a video file that is one episode of one camera."""

    path: Path
    """The file, which may hold many episodes."""
    start_s: float
    """Where in the file the episode begins, as `meta/` says."""
    first_frame: int
    """Rows of the episodes before it in the file."""
    rows_in_file: int
    """Rows of all episodes in the file."""


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """Where one episode lies."""

    number: int
    """Its own number in the dataset; numbers may have gaps."""
    length: int
    """Rows."""
    instructions: tuple[str, ...]
    """The tasks that occur in it, in no particular order; empty where `meta/` does not say."""
    table: Path
    """The parquet file with its rows, which may hold many episodes."""
    first_index: int | None
    """Its first row in the whole dataset, where `meta/` says so."""
    clips: Mapping[str, Clip]
    """Its video by camera key."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """In which file each episode lies."""

    paths: tuple[Path, ...]
    """The files."""
    which: Int[np.ndarray, " episodes"]
    """Each episode's file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Films:
    """Where one camera's video of each episode lies."""

    places: Places
    """The files."""
    starts_s: Float[np.ndarray, " episodes"]
    """Where in its file each episode begins."""
    lengths: Int[np.ndarray, " episodes"]
    """Rows of each episode."""

    @cached_property
    def first_frames(self) -> Int[np.ndarray, " episodes"]:
        """Rows of the episodes before each one in its file."""
        order = np.lexsort((np.arange(len(self.lengths)), self.starts_s, self.places.which))
        before = np.cumsum(self.lengths[order]) - self.lengths[order]
        which = self.places.which[order]
        begins = np.r_[True, which[1:] != which[:-1]] if len(which) else np.empty(0, bool)
        at_file_start = before[begins]
        first = np.empty_like(before)
        first[order] = before - np.repeat(at_file_start, np.diff(np.r_[np.flatnonzero(begins), len(which)]))
        return first

    @cached_property
    def rows_in_files(self) -> Int[np.ndarray, " files"]:
        """Rows of all episodes in each file."""
        return np.bincount(self.places.which, weights=self.lengths, minlength=len(self.places.paths)).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Everything `meta/` says."""

    info: Mapping[str, Any]
    """`meta/info.json`."""
    instructions: Mapping[int, str]
    """Instruction by task_index."""
    numbers: Int[np.ndarray, " episodes"]
    """Each episode's own number, ascending."""
    lengths: Int[np.ndarray, " episodes"]
    """Rows of each episode."""
    first_indices: Int[np.ndarray, " episodes"] | None
    """First row of each episode in the whole dataset (`dataset_from_index`)."""
    tables: Places
    """The parquet files with the rows."""
    films: Mapping[str, Films]
    """The video of each camera."""
    tasks: Sequence[Any] | pa.ChunkedArray | None
    """The instructions of each episode, where `meta/` says them."""
    read_stats: Callable[[], Mapping[str, Summary]] = field(repr=False)
    """Reads the dataset's statistics; empty where it carries none."""

    @property
    def num_episodes(self) -> int:
        """How many episodes."""
        return len(self.numbers)

    def paths(self) -> list[Path]:
        """Return every file that some episode needs."""
        return [*self.tables.paths, *(path for films in self.films.values() for path in films.places.paths)]

    def record(self, position: int) -> EpisodeRecord:
        """Return where the episode at a position lies, counted without gaps."""
        return EpisodeRecord(
            number=int(self.numbers[position]),
            length=int(self.lengths[position]),
            instructions=self._instructions(position),
            table=self.tables.paths[self.tables.which[position]],
            first_index=None if self.first_indices is None else int(self.first_indices[position]),
            clips={key: self._clip(films, position) for key, films in self.films.items()},
        )

    def _instructions(self, position: int) -> tuple[str, ...]:
        if self.tasks is None:
            return ()
        details = self.tasks[position]
        details = details.as_py() if isinstance(details, pa.Scalar) else details
        return (details,) if isinstance(details, str) else tuple(details or ())

    def _clip(self, films: Films, position: int) -> Clip:
        which = films.places.which[position]
        return Clip(
            path=films.places.paths[which],
            start_s=float(films.starts_s[position]),
            first_frame=int(films.first_frames[position]),
            rows_in_file=int(films.rows_in_files[which]),
        )


def read_layout(root: Path) -> Layout:
    """Return what the `meta/` folder of a dataset says.

    Raises:
        DatasetError: No dataset, an unsupported version, or a damaged or inconsistent `meta/` folder.
    """
    path = root / INFO_PATH
    if not path.is_file():
        what = f"no dataset at {root}" if root.is_dir() else f"no folder {root}"
        raise DatasetError(what, allowed=f"a LeRobot dataset, with {INFO_PATH}", cure="check the path")
    check_inside(root, _meta_files(root))
    info = read_json(path)
    if not isinstance(info, dict):
        raise DatasetError(f"{path} is damaged", got=type(info).__name__, allowed="a table of names", cure=CURE)
    version = "v" + str(info.get("codebase_version")).removeprefix("v")
    if version not in _READERS:
        raise DatasetError(
            f"dataset {root}: codebase_version",
            got=info.get("codebase_version"),
            allowed=", ".join(_READERS),
            cure="convert it with LeRobot's own tools",
        )
    try:
        check_info(root, info)
        layout = _READERS[version](root, info)
        check_lengths(root, layout.numbers, layout.lengths)
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"dataset {root}: meta/ lacks an entry", got=str(error), cure=CURE) from error
    _check_counts(root, layout)
    return layout


def _meta_files(root: Path) -> list[Path]:
    """Return all that is read of `meta/`."""
    meta = root / "meta"
    return [*(path for path in meta.iterdir() if path.is_file()), *(meta / "episodes").glob("*/*.parquet")]


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Whether a camera's feature holds distances rather than colours."""
    info = feature.get("info") or feature.get("video_info") or {}
    return bool(info.get("is_depth_map") or info.get("video.is_depth_map"))


def _read_v3(root: Path, info: Mapping[str, Any]) -> Layout:
    """Versions 3.0 and 3.1: many episodes may share a file."""
    table = _episodes_table(root) if info["total_episodes"] else None
    if table is None or not table.num_rows:
        return _empty(root, info)
    table = _first_episodes(table, info)
    numbers, lengths = _column(table, "episode_index"), _column(table, "length")

    def places(prefix: str, template: str, **names: str) -> Places:
        pairs = np.stack([_column(table, f"{prefix}/chunk_index"), _column(table, f"{prefix}/file_index")], axis=1)
        distinct, which = np.unique(pairs, axis=0, return_inverse=True)
        paths = tuple(root / template.format(chunk_index=int(c), file_index=int(f), **names) for c, f in distinct)
        return Places(paths=paths, which=which.reshape(-1))

    films = {
        key: Films(
            places=places(f"videos/{key}", info["video_path"], video_key=key),
            starts_s=_column(table, f"videos/{key}/from_timestamp").astype(np.float64),
            lengths=lengths,
        )
        for key in _film_keys(info)
    }
    has_indices = "dataset_from_index" in table.column_names
    return Layout(
        info=info,
        instructions=_read_tasks(root, info),
        numbers=numbers,
        lengths=lengths,
        first_indices=_column(table, "dataset_from_index") if has_indices else None,
        tables=places("data", info["data_path"]),
        films=films,
        tasks=table.column("tasks") if "tasks" in table.column_names else None,
        read_stats=_whole_stats(root),
    )


def _empty(root: Path, info: Mapping[str, Any]) -> Layout:
    """Return the layout of a dataset without episodes."""
    none = np.empty(0, np.int64)
    return Layout(
        info=info,
        instructions={},
        numbers=none,
        lengths=none,
        first_indices=None,
        tables=Places(paths=(), which=none),
        films={
            key: Films(places=Places(paths=(), which=none), starts_s=none.astype(float), lengths=none)
            for key in _film_keys(info)
        },
        tasks=None,
        read_stats=_whole_stats(root),
    )


def _episodes_table(root: Path) -> pa.Table:
    """Return all of `meta/episodes` but the statistics, by episode_index."""
    parts = []
    for path in sorted((root / "meta/episodes").glob("*/*.parquet")):

        def parse(path: Path = path) -> pa.Table:
            with open_parquet(path) as file:
                names = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
                return file.read(columns=names).replace_schema_metadata(None)

        parts.append(parse_file(path, parse))
    if not parts:
        raise DatasetError(f"{root / 'meta/episodes'} is missing", got="no parquet file in it", cure=CURE)
    return pa.concat_tables(parts, promote_options="permissive").sort_by("episode_index")


def _first_episodes(table: pa.Table, info: Mapping[str, Any]) -> pa.Table:
    """Leave out what a recorder wrote but did not count: it may be stopped between the two."""
    total = info["total_episodes"]
    counted = table.slice(0, total)
    rows = int(_column(counted, "length").sum())
    return counted if table.num_rows > total and rows == info.get("total_frames", rows) else table


def _column(table: pa.Table, name: str) -> np.ndarray:
    """Return a column of plain numbers; lists of one number, as some writers have them, are unpacked."""
    column = table.column(name).combine_chunks()
    while pa.types.is_nested(column.type):
        column = column.flatten()
    return column.to_numpy(zero_copy_only=False)


def _read_tasks(root: Path, info: Mapping[str, Any]) -> dict[int, str]:
    """Return the instructions by number. Pandas' index holds them, under whatever name its metadata says."""
    path = root / TASKS_PATH
    if not path.is_file() and (root / "meta/tasks.jsonl").is_file():
        return _tasks_from_lines(root)
    if not info.get("total_tasks", 1) and not path.is_file():
        return {}

    def parse() -> pa.Table:
        with open_parquet(path) as file:
            return file.read()

    table = parse_file(path, parse)
    texts = [name for name in table.column_names if _is_text(table.schema.field(name).type)]
    indices = (table.schema.pandas_metadata or {}).get("index_columns", [])
    named = [name for name in (*indices, "task", "__index_level_0__", *texts) if name in texts]
    if "task_index" not in table.column_names or not named:
        raise DatasetError(
            f"{path}",
            got=f"columns {', '.join(table.column_names)}",
            allowed="task_index, and a column (or pandas index) of instructions",
            cure="write it again with LeRobot's tools",
        )
    texts = table.column(named[0]).to_pylist()
    return dict(zip(map(int, _column(table, "task_index")), texts, strict=True))


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _tasks_from_lines(root: Path) -> dict[int, str]:
    return {int(row["task_index"]): row["task"] for row in read_json_lines(root / "meta/tasks.jsonl")}


def _read_v2(root: Path, info: Mapping[str, Any]) -> Layout:
    """Versions 2.0 and 2.1: one parquet file and one MP4 per camera for each episode, `meta/` in JSON lines."""
    rows = sorted(read_json_lines(root / "meta/episodes.jsonl"), key=lambda row: row["episode_index"])
    numbers = np.array([row["episode_index"] for row in rows], np.int64)
    lengths = np.array([row["length"] for row in rows], np.int64)
    chunks_size = info.get("chunks_size") or CHUNKS_SIZE

    def places(template: str, **names: str) -> Places:
        paths = tuple(
            root / template.format(episode_chunk=number // chunks_size, episode_index=number, **names)
            for number in numbers.tolist()
        )
        return Places(paths=paths, which=np.arange(len(paths)))

    return Layout(
        info=info,
        instructions=_tasks_from_lines(root),
        numbers=numbers,
        lengths=lengths,
        first_indices=None,
        tables=places(info["data_path"]),
        films={
            key: Films(places=places(info["video_path"], video_key=key), starts_s=np.zeros(len(rows)), lengths=lengths)
            for key in _film_keys(info)
        },
        tasks=[row.get("tasks") for row in rows],
        read_stats=_stats_of_episodes(root),
    )


def _stats_of_episodes(root: Path) -> Callable[[], Mapping[str, Summary]]:
    """Return what reads version 2.1's statistics, which are kept per episode; 2.0 has them as a whole."""
    path = root / "meta/episodes_stats.jsonl"
    if not path.is_file():
        return _whole_stats(root)

    def read() -> Mapping[str, Summary]:
        parts = [stats_from_lists(row["stats"]) for row in read_json_lines(path)]
        return merge_stats(parts) if parts else {}

    return read


def _whole_stats(root: Path) -> Callable[[], Mapping[str, Summary]]:
    path = root / STATS_PATH
    return lambda: stats_from_lists(read_json(path)) if path.is_file() else {}


_READERS: dict[str, Callable[[Path, Mapping[str, Any]], Layout]] = {
    "v3.1": _read_v3,
    "v3.0": _read_v3,
    "v2.1": _read_v2,
    "v2.0": _read_v2,
}


def _check_counts(root: Path, layout: Layout) -> None:
    """Refuse a `meta/` whose episodes are not those that it counts. Their numbers may have gaps."""
    if len(set(layout.numbers.tolist())) < layout.num_episodes:
        twice = next(int(a) for a, b in zip(layout.numbers, layout.numbers[1:], strict=False) if a == b)
        raise DatasetError(f"dataset {root}: the episodes in meta/", got=f"number {twice} twice", allowed="once")
    rows, info = int(layout.lengths.sum()), layout.info
    episodes = info["total_episodes"]
    if layout.num_episodes == episodes and rows == info.get("total_frames", rows):
        return
    last = max([episodes - 1, *layout.numbers.tolist()[-1:]])
    known = set(layout.numbers.tolist())
    # Not all of them: the last number may be any.
    gaps = list(islice((number for number in range(last + 1) if number not in known), MANY + 1))
    named = f", without the numbers {', '.join(map(str, gaps[:MANY]))}" + " ..." * (len(gaps) > MANY) if gaps else ""
    raise DatasetError(
        f"dataset {root}: the episodes in meta/",
        got=f"{layout.num_episodes} episodes with {rows} rows{named}",
        allowed=f"{episodes} episodes with {info.get('total_frames')} rows, as in {INFO_PATH}",
        cure="if episodes were taken out on purpose, correct the totals in meta/info.json; else " + CURE,
    )


def _film_keys(info: Mapping[str, Any]) -> list[str]:
    return [key for key, feature in info["features"].items() if feature["dtype"] == "video" and not is_depth(feature)]
