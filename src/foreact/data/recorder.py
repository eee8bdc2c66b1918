"""Recording episodes into a LeRobot v3.0 dataset, so that no interruption costs more than one episode.

Every episode has parquet and MP4 files of its own, and no such file is ever rewritten. The small `meta/`
files are replaced whole, `meta/info.json` last: an episode exists once that file counts it. LeRobot ignores
rows that the counts do not cover, so the folder is a valid dataset at every instant.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from foreact.data.episodes import EpisodeDataset
from foreact.data.lerobot_files import (
    DATA_PATH,
    EPISODES_PATH,
    EPISODES_PER_META_FILE,
    INFO_PATH,
    PARTIAL_SUFFIX,
    STATS_PATH,
    TASKS_PATH,
    VIDEO_PATH,
    meta_place_of,
    parse_file,
    place_of,
    publish_files,
    remove_beyond,
    stage_files,
)
from foreact.data.lerobot_info import (
    camera_sizes,
    check_names,
    check_same_settings,
    checked_columns,
    new_info,
)
from foreact.data.lerobot_stats import (
    PixelSummary,
    Summary,
    merge_stats,
    stats_from_row,
    stats_to_lists,
    summarise_column,
)
from foreact.data.lerobot_tables import (
    counter_columns,
    episode_row,
    episodes_table,
    rows_table,
    table_bytes,
    tasks_table,
)
from foreact.data.video import VideoSettings, encode_video
from foreact.errors import DatasetError, InputError
from foreact.folders import LOCK_FILE, OWNER_FILE, only_writer


class DatasetWriter:
    """Adds episodes to a dataset on disk. One writer at a time; a context manager."""

    def __init__(self, root: Path, settings: Mapping[str, Any], video: VideoSettings, held: ExitStack):
        """Take over a folder; use `create_or_resume`, which checks more."""
        self._root, self._video = root, video
        self._cameras = camera_sizes(settings)
        self._held = held
        self._stats: dict[str, Summary] = {}
        self._instructions: list[str] = []
        self._rows: list[dict[str, Any]] = []
        self._open = True
        try:
            path = root / INFO_PATH
            self._info: dict[str, Any] = parse_file(path, lambda: json.loads(path.read_text()))
            check_same_settings(root, self._info, settings)
            if self.num_episodes:
                self._load()
            self._clear_uncommitted()
        except BaseException:
            self.finalize()
            raise

    @classmethod
    def create_or_resume(
        cls,
        root: Path | str,
        *,
        fps: int,
        robot_type: str,
        features: Mapping[str, Sequence[str]],
        cameras: Mapping[str, tuple[int, int]],
        video: VideoSettings | None = None,
    ) -> "DatasetWriter":
        """Return a writer for a new dataset, or for one it wrote earlier, which it carries on.

        Args:
            root: The dataset's folder; made if missing.
            fps: Rows per second.
            robot_type: The robot's name.
            features: Column name to the names of its entries, such as
                `{"action": ["left_waist", ...]}`; every column is float32.
            cameras: Camera key, such as "observation.images.top", to (height, width), both even.
            video: How frames are compressed.

        Raises:
            ConfigurationError: fps, a name or a frame size that cannot be, or somebody else writes to the folder.
            DatasetError: The folder holds something else, or a dataset of other settings.
        """
        root, video = Path(root), video or VideoSettings()
        settings = new_info(fps=fps, robot_type=robot_type, features=features, cameras=cameras, video=video)
        with ExitStack() as held:
            held.enter_context(only_writer(root))
            if not (root / INFO_PATH).exists():
                _check_empty(root)
                first = {root / INFO_PATH: _json_bytes(settings)}
                stage_files(first)
                publish_files(first)
            return cls(root, settings, video, held.pop_all())

    @property
    def num_episodes(self) -> int:
        """Episodes safely on disk."""
        return self._info["total_episodes"]

    @property
    def instructions(self) -> tuple[str, ...]:
        """What was asked for in the episodes on disk, each once."""
        return tuple(self._instructions)

    @property
    def num_frames(self) -> int:
        """Rows safely on disk."""
        return self._info["total_frames"]

    def add_episode(
        self,
        *,
        columns: Mapping[str, np.ndarray],
        videos: Mapping[str, Iterable[np.ndarray]],
        instruction: str,
    ) -> None:
        """Write one episode; on return it is safely on disk.

        Args:
            columns: Every declared column, [rows, entries].
            videos: Every camera's uint8 frames [height, width, 3], one per row, consumed one by one.
            instruction: The task in words.

        Raises:
            InputError: Columns, frames or numbers that do not fit; nothing is written.
            DatasetError: The disk is full (the episodes before are intact), or the writer is closed.
        """
        if not self._open:
            raise DatasetError(
                f"dataset {self._root}: the writer is closed", cure="open it again with create_or_resume"
            )
        if not instruction.strip():
            raise InputError("instruction", got=repr(instruction), allowed="words")
        columns = checked_columns(self._info, columns)
        length = len(next(iter(columns.values())))
        encoded, stats = self._encode(videos, length)
        instructions = list(dict.fromkeys([*self._instructions, instruction]))
        numbers = {"length": length, "fps": self._info["fps"], "episode_index": self.num_episodes}
        numbers["first_index"] = self.num_frames
        columns |= counter_columns(**numbers, task_index=instructions.index(instruction))
        stats |= {name: summarise_column(values) for name, values in columns.items()}
        row = episode_row(**numbers, instruction=instruction, cameras=self._cameras, stats=stats)
        self._commit(encoded, columns, stats, row, instructions)

    def finalize(self) -> None:
        """Let go of the dataset. Everything is on disk already; safe to call twice."""
        self._open = False
        self._held.close()

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.finalize()

    def _encode(
        self, videos: Mapping[str, Iterable[np.ndarray]], length: int
    ) -> tuple[dict[str, bytes], dict[str, Summary]]:
        """Return the MP4 file and the pixel statistics of every camera."""
        check_names("cameras", videos, self._cameras)
        encoded, stats = {}, {}
        for key, size in self._cameras.items():
            pixels = PixelSummary(length)
            encoded[key] = encode_video(
                pixels.watch(videos[key]), fps=self._info["fps"], size=size, settings=self._video, name=key
            )
            if pixels.num_seen != length:
                raise InputError(f"camera {key!r}", got=f"{pixels.num_seen} frames", allowed=f"{length}, one per row")
            stats[key] = pixels.summary()
        return encoded, stats

    def _commit(
        self,
        encoded: Mapping[str, bytes],
        columns: Mapping[str, np.ndarray],
        stats: Mapping[str, Summary],
        row: Mapping[str, Any],
        instructions: list[str],
    ) -> None:
        """Put the episode's files in place, those that count it last."""
        index, rows = self.num_episodes, [*self._rows, dict(row)]
        merged = merge_stats([self._stats, stats] if self._stats else [stats])
        info = self._info | {
            "total_episodes": index + 1,
            "total_frames": self.num_frames + row["length"],
            "total_tasks": len(instructions),
            "splits": {"train": f"0:{index + 1}"},
        }
        files = {
            **{VIDEO_PATH.format(video_key=key, **place_of(index)): mp4 for key, mp4 in encoded.items()},
            DATA_PATH.format(**place_of(index)): table_bytes(rows_table(columns)),
            EPISODES_PATH.format(**meta_place_of(index)): table_bytes(episodes_table(rows)),
            TASKS_PATH: table_bytes(tasks_table(instructions)),
            STATS_PATH: _json_bytes(stats_to_lists(merged)),
            INFO_PATH: _json_bytes(info),
        }
        contents = {self._root / name: content for name, content in files.items()}
        stage_files(contents)
        # Interrupted from here on, only opening the folder again tells what is on disk.
        self._open = False
        publish_files(contents)
        self._info, self._stats, self._instructions = info, merged, instructions
        self._rows = rows if self.num_episodes % EPISODES_PER_META_FILE else []
        self._open = True

    def _load(self) -> None:
        """Read what earlier episodes left behind."""
        EpisodeDataset(self._root)  # Refuses a dataset with a file missing.
        rows: list[dict[str, Any]] = []
        for path in sorted((self._root / "meta/episodes").glob("*/*.parquet")):
            rows += parse_file(path, lambda path=path: pq.read_table(path).to_pylist())
        rows = rows[: self.num_episodes]
        places = [{name: row.get(f"data/{name}") for name in place_of(0)} for row in rows]
        if places != [place_of(index) for index in range(self.num_episodes)]:
            raise DatasetError(
                f"dataset {self._root}",
                got="episodes laid out by another program",
                allowed="a dataset this program recorded",
                cure="record into a new folder",
            )
        tasks = pq.read_table(self._root / TASKS_PATH).column("task").to_pylist()
        self._instructions = tasks[: self._info["total_tasks"]]
        for stats in map(stats_from_row, rows):
            self._stats = merge_stats([self._stats, stats] if self._stats else [stats])
        self._rows = rows[self.num_episodes // EPISODES_PER_META_FILE * EPISODES_PER_META_FILE :]

    def _clear_uncommitted(self) -> None:
        """Remove what an interrupted writer left of an episode that does not count."""
        remove_beyond(self._root / "data", self.num_episodes)
        remove_beyond(self._root / "meta/episodes", -(-self.num_episodes // EPISODES_PER_META_FILE))
        for key in self._cameras:
            remove_beyond(self._root / "videos" / key, self.num_episodes)
        for path in (self._root / "meta").glob(f"*{PARTIAL_SUFFIX}"):
            path.unlink()


def _check_empty(root: Path) -> None:
    """Refuse to begin a dataset in a folder with other things in it."""
    leftovers = (LOCK_FILE, OWNER_FILE)
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.endswith(PARTIAL_SUFFIX) and name not in leftovers:
            raise DatasetError(
                f"dataset folder {root}",
                got=f"files that are no dataset, such as {name}",
                allowed="a new or empty folder, or a dataset to carry on",
            )


def _json_bytes(content: Any) -> bytes:
    return json.dumps(content, indent=4).encode()
