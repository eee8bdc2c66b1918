"""Where a LeRobot dataset keeps each episode: versions 3.0 and 2.1, brought to one form."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from foreact.data.lerobot_files import CURE, INFO_PATH, STATS_PATH, TASKS_PATH, parse_file
from foreact.data.lerobot_stats import Summary, merge_stats, stats_from_lists
from foreact.errors import DatasetError


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The part of a video file that is one episode of one camera."""

    path: Path
    """The file, which may hold many episodes."""
    start_s: float
    """Where in the file the episode begins."""


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """Where one episode lies."""

    index: int
    """Its number in the dataset."""
    length: int
    """Rows."""
    instructions: tuple[str, ...]
    """The tasks that occur in it, in no particular order."""
    table: Path
    """The parquet file with its rows, which may hold many episodes."""
    clips: Mapping[str, Clip]
    """Its video by camera key."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Everything `meta/` says."""

    info: Mapping[str, Any]
    """`meta/info.json`."""
    instructions: Mapping[int, str]
    """Instruction by task_index."""
    records: tuple[EpisodeRecord, ...]
    """One per episode, in order."""
    stats: Mapping[str, Summary]
    """Statistics by column or camera key; empty where the dataset carries none."""


def read_layout(root: Path) -> Layout:
    """Return what the `meta/` folder of a dataset says.

    Raises:
        DatasetError: No dataset, an unsupported version, or a damaged or inconsistent `meta/` folder.
    """
    path = root / INFO_PATH
    if not path.is_file():
        what = f"no dataset at {root}" if root.is_dir() else f"no folder {root}"
        raise DatasetError(what, allowed=f"a LeRobot dataset, with {INFO_PATH}", cure="check the path")
    info = parse_file(path, lambda: json.loads(path.read_text()))
    version = info.get("codebase_version")
    if version not in _READERS:
        raise DatasetError(
            f"dataset {root}: codebase_version",
            got=version,
            allowed=", ".join(_READERS),
            cure="convert it with LeRobot's own tools",
        )
    try:
        layout = _READERS[version](root, info)
    except (KeyError, TypeError) as error:
        raise DatasetError(f"dataset {root}: meta/ lacks an entry", got=str(error), cure=CURE) from error
    _check_counts(root, layout)
    return layout


def _read_v3(root: Path, info: Mapping[str, Any]) -> Layout:
    """Version 3.0: many episodes may share a file."""
    cameras = _camera_keys(info)
    rows: list[dict[str, Any]] = []
    for path in sorted((root / "meta/episodes").glob("*/*.parquet")) if info["total_episodes"] else []:
        names = [name for name in _parquet(path, None).names if not name.startswith("stats/")]
        rows += _parquet(path, names).to_pylist()
    # A recorder may have been stopped between writing an episode's row and counting it.
    rows = sorted((row for row in rows if row["episode_index"] < info["total_episodes"]), key=_episode_index)
    records = [
        EpisodeRecord(
            index=row["episode_index"],
            length=row["length"],
            instructions=tuple(row["tasks"]),
            table=root / info["data_path"].format(**_place(row, "data")),
            clips={
                key: Clip(
                    path=root / info["video_path"].format(video_key=key, **_place(row, f"videos/{key}")),
                    start_s=row[f"videos/{key}/from_timestamp"],
                )
                for key in cameras
            },
        )
        for row in rows
    ]
    tasks = _parquet(root / TASKS_PATH, ["task_index", "task"]).to_pylist() if info["total_tasks"] else []
    stats: Mapping[str, Summary] = {}
    if (root / STATS_PATH).is_file():
        stats = stats_from_lists(parse_file(root / STATS_PATH, lambda: json.loads((root / STATS_PATH).read_text())))
    return Layout(
        info=info,
        instructions={task["task_index"]: task["task"] for task in tasks},
        records=tuple(records),
        stats=stats,
    )


def _read_v21(root: Path, info: Mapping[str, Any]) -> Layout:
    """Version 2.1: one parquet file and one MP4 per camera for each episode, `meta/` in JSON lines."""
    records = []
    for row in sorted(_json_lines(root / "meta/episodes.jsonl"), key=_episode_index):
        place = {
            "episode_chunk": row["episode_index"] // info["chunks_size"],
            "episode_index": row["episode_index"],
        }
        records.append(
            EpisodeRecord(
                index=row["episode_index"],
                length=row["length"],
                instructions=tuple(row["tasks"]),
                table=root / info["data_path"].format(**place),
                clips={
                    key: Clip(path=root / info["video_path"].format(video_key=key, **place), start_s=0.0)
                    for key in _camera_keys(info)
                },
            )
        )
    parts = [stats_from_lists(row["stats"]) for row in _json_lines(root / "meta/episodes_stats.jsonl")]
    return Layout(
        info=info,
        instructions={row["task_index"]: row["task"] for row in _json_lines(root / "meta/tasks.jsonl")},
        records=tuple(records),
        stats=merge_stats(parts) if parts else {},
    )


_READERS: dict[str, Callable[[Path, Mapping[str, Any]], Layout]] = {"v3.0": _read_v3, "v2.1": _read_v21}


def _check_counts(root: Path, layout: Layout) -> None:
    """The episodes are numbered without gaps and add up to the rows announced."""
    indices = [record.index for record in layout.records]
    frames = sum(record.length for record in layout.records)
    info = layout.info
    if indices != list(range(info["total_episodes"])) or frames != info["total_frames"]:
        raise DatasetError(
            f"dataset {root}: the episodes in meta/",
            got=f"{len(indices)} episodes with {frames} rows",
            allowed=f"{info['total_episodes']} episodes with {info['total_frames']} rows, as in {INFO_PATH}",
            cure=CURE,
        )


def _camera_keys(info: Mapping[str, Any]) -> list[str]:
    return [key for key, feature in info["features"].items() if feature["dtype"] == "video"]


def _episode_index(row: Mapping[str, Any]) -> int:
    return row["episode_index"]


def _place(row: Mapping[str, Any], prefix: str) -> dict[str, int]:
    return {name: row[f"{prefix}/{name}"] for name in ("chunk_index", "file_index")}


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return parse_file(path, lambda: [json.loads(line) for line in path.read_text().splitlines() if line.strip()])


def _parquet(path: Path, columns: list[str] | None) -> Any:
    """Return the file's schema, or the named columns."""
    if columns is None:
        return parse_file(path, lambda: pq.read_schema(path))
    return parse_file(path, lambda: pq.read_table(path, columns=columns))
