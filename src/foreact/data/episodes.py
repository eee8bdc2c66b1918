"""Reading LeRobot datasets, versions 3.0 and 2.1, episode by episode."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int, Shaped, UInt8

from foreact.data.lerobot_files import CURE, parse_file
from foreact.data.lerobot_layout import EpisodeRecord, Layout, read_layout
from foreact.data.lerobot_stats import Summary
from foreact.data.video import read_frames
from foreact.errors import DatasetError


class EpisodeDataset:
    """A LeRobot dataset on disk. Opening reads `meta/` only and finds every file named there."""

    def __init__(self, root: Path | str):
        """Open a dataset.

        Raises:
            DatasetError: No dataset, an unsupported version, a damaged `meta/`, a missing file.
        """
        self.root = Path(root)
        self._layout: Layout = read_layout(self.root)
        paths = {record.table for record in self._layout.records}
        paths |= {clip.path for record in self._layout.records for clip in record.clips.values()}
        missing = sorted(path for path in paths if not path.is_file())
        if missing:
            raise DatasetError(
                f"dataset {self.root}: {missing[0].relative_to(self.root)} is missing",
                got=f"{len(missing)} of {len(paths)} files missing",
                cure=CURE,
            )
        # One file may hold many episodes; together they must account for all its frames.
        self._num_frames_in: dict[Path, int] = {}
        for record in self._layout.records:
            for clip in record.clips.values():
                self._num_frames_in[clip.path] = self._num_frames_in.get(clip.path, 0) + record.length

    @property
    def fps(self) -> int | float:
        """Rows per second."""
        return self._layout.info["fps"]

    @property
    def robot_type(self) -> str | None:
        """The robot's name, where the dataset says it."""
        return self._layout.info.get("robot_type")

    @property
    def features(self) -> Mapping[str, Any]:
        """`dtype`, `shape` and `names` of every column and camera, as in `meta/info.json`."""
        return self._layout.info["features"]

    @property
    def camera_keys(self) -> list[str]:
        """Keys of the video features, such as "observation.images.top"."""
        return [key for key, feature in self.features.items() if feature["dtype"] == "video"]

    @property
    def column_names(self) -> list[str]:
        """Names of the numeric columns."""
        return [name for name, feature in self.features.items() if _is_numeric(feature)]

    @property
    def num_episodes(self) -> int:
        """How many episodes."""
        return len(self._layout.records)

    @property
    def num_frames(self) -> int:
        """Rows of all episodes."""
        return self._layout.info["total_frames"]

    @property
    def stats(self) -> Mapping[str, Summary]:
        """The dataset's own statistics; its quantiles are approximate, `column` gives exact ones."""
        return self._layout.stats

    def frame_size(self, camera_key: str) -> tuple[int, int]:
        """Return a camera's height and width.

        Raises:
            DatasetError: No such camera; those there are are listed.
        """
        self.require(cameras=[camera_key])
        height, width = self.features[camera_key]["shape"][:2]
        return height, width

    def require(
        self,
        *,
        fps: int | float | None = None,
        columns: Iterable[str] = (),
        cameras: Iterable[str] = (),
    ) -> None:
        """Check that the dataset has what is needed.

        Raises:
            DatasetError: Another fps, or a column or camera that is not there; those there are are listed.
        """
        if fps is not None and fps != self.fps:
            raise DatasetError(
                f"dataset {self.root}: fps",
                got=self.fps,
                allowed=fps,
                cure="record it at that rate, or choose an embodiment of the dataset's rate",
            )
        for kind, wanted, names in (
            ("column", columns, self.column_names),
            ("camera", cameras, self.camera_keys),
        ):
            for name in wanted:
                if name not in names:
                    raise DatasetError(
                        f"dataset {self.root} has no such {kind}", got=repr(name), allowed=", ".join(names)
                    )

    def episode(self, index: int) -> "Episode":
        """Return an episode; its rows and frames are read when asked for.

        Raises:
            DatasetError: No such episode.
        """
        if not 0 <= index < self.num_episodes:
            raise DatasetError(f"dataset {self.root}: episode", got=index, allowed=f"0 to {self.num_episodes - 1}")
        return Episode(self, self._layout, self._layout.records[index], self._num_frames_in)

    def __len__(self) -> int:
        return self.num_episodes

    def __iter__(self) -> Iterator["Episode"]:
        return (self.episode(index) for index in range(self.num_episodes))

    def column(self, name: str) -> Shaped[np.ndarray, "rows entries"]:
        """Return a column over all episodes, in their order.

        Raises:
            DatasetError: No such column, or what `Episode.column` raises.
        """
        self.require(columns=[name])
        parts = [episode.column(name) for episode in self]
        return np.concatenate(parts) if parts else np.empty((0, self.features[name]["shape"][0]))


class Episode:
    """One episode of a dataset. Made by `EpisodeDataset.episode`."""

    def __init__(
        self,
        dataset: EpisodeDataset,
        layout: Layout,
        record: EpisodeRecord,
        num_frames_in: Mapping[Path, int],
    ):
        """Remember where the episode lies; nothing is read yet."""
        self._dataset, self._layout, self._record = dataset, layout, record
        self._num_frames_in = num_frames_in
        self._columns: dict[str, np.ndarray] = {}

    @property
    def index(self) -> int:
        """Its number in the dataset."""
        return self._record.index

    @property
    def length(self) -> int:
        """Rows."""
        return self._record.length

    @property
    def instruction(self) -> str:
        """The task in words; where it changes within the episode, the first one."""
        if len(self._record.instructions) == 1:
            return self._record.instructions[0]
        return self._layout.instructions[int(self.column("task_index")[0, 0])]

    def column(self, name: str) -> Shaped[np.ndarray, "rows entries"]:
        """Return a numeric column in its own type; a plain number per row becomes one entry.

        Raises:
            DatasetError: No such column, a damaged file, another number of rows, a NaN or infinity.
        """
        self._dataset.require(columns=[name])
        if name not in self._columns:
            values = self._values(name)
            if not np.isfinite(values).all():
                row, entry = np.argwhere(~np.isfinite(values))[0]
                raise DatasetError(
                    f"{self._record.table}, episode {self.index}: column {name!r}, row {row}, entry {entry}",
                    got=values[row, entry],
                    allowed="finite numbers",
                    cure="leave the episode out or record it again",
                )
            self._columns[name] = values
        return self._columns[name]

    def frames(self, camera_key: str, rows: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "frames height width 3"]:
        """Return the camera's frames at the given rows, in the order asked, RGB.

        Raises:
            DatasetError: No such camera or row, or a video that is damaged or does not fit the rows.
        """
        self._dataset.require(cameras=[camera_key])
        outside = [row for row in rows if not 0 <= row < self.length]
        if outside:
            raise DatasetError(f"episode {self.index}: row", got=outside[0], allowed=f"0 to {self.length - 1}")
        clip = self._record.clips[camera_key]
        times_s = clip.start_s + self.column("timestamp")[np.asarray(rows, int), 0].astype(np.float64)
        return read_frames(clip.path, times_s.tolist(), num_frames=self._num_frames_in[clip.path])

    def clamp(self, rows: Sequence[int] | np.ndarray) -> tuple[Int[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
        """Return the rows, those outside the episode replaced by its nearest one, and which those are.

        This is LeRobot's window over an episode's end, with its padding flags.
        """
        wanted = np.asarray(rows, int)
        clamped = wanted.clip(0, self.length - 1)
        return clamped, clamped != wanted

    @cached_property
    def _table(self) -> pa.Table:
        """The episode's own rows, all numeric columns that the file has."""
        path = self._record.table
        present = parse_file(path, lambda: pq.read_schema(path)).names
        columns = [name for name in self._dataset.column_names if name in present]
        filters = [("episode_index", "=", self.index)]
        table = parse_file(path, lambda: pq.read_table(path, columns=columns, filters=filters))
        if table.num_rows != self.length:
            raise DatasetError(
                f"{path}: rows of episode {self.index}", got=table.num_rows, allowed=self.length, cure=CURE
            )
        return table

    def _values(self, name: str) -> np.ndarray:
        """A column as [rows, entries]."""
        if name not in self._table.column_names:
            raise DatasetError(
                f"{self._record.table} lacks the column {name!r} that meta/info.json announces", cure=CURE
            )
        column = self._table.column(name).combine_chunks()
        while pa.types.is_nested(column.type):
            column = column.flatten()
        values = column.to_numpy(zero_copy_only=False)
        width = int(np.prod(self._dataset.features[name]["shape"]))
        if values.size != self.length * width:
            raise DatasetError(
                f"{self._record.table}, episode {self.index}: column {name!r}",
                got=f"{values.size} numbers",
                allowed=f"{self.length} rows of {width}",
                cure=CURE,
            )
        return values.reshape(self.length, width)


def _is_numeric(feature: Mapping[str, Any]) -> bool:
    """Whether a feature is a column of numbers, rather than pictures or text."""
    return feature["dtype"].startswith(("float", "int", "uint", "bool"))
