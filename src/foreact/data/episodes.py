"""Reading LeRobot datasets, versions 2.0 to 3.1, episode by episode."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from foreact.data.bounds import check_inside
from foreact.data.film import Film, open_film
from foreact.data.lerobot_files import CURE
from foreact.data.lerobot_layout import Clip, EpisodeRecord, Layout, is_depth, read_layout
from foreact.data.lerobot_stats import Summary
from foreact.data.pictures import cell_bytes, read_cell
from foreact.data.renaming import Renaming, rename_hint
from foreact.data.row_checks import check_finite, check_rate, check_row_rate
from foreact.data.row_store import TableFile, open_table
from foreact.data.video import HALF_A_PERIOD
from foreact.errors import DatasetError

PICTURES = ("video", "image")
"""`dtype` of a camera whose pictures are in films, and of one whose pictures are in the parquet rows."""


class EpisodeDataset:
    """A LeRobot dataset on disk. Opening reads `meta/` only and finds every file named there."""

    def __init__(self, root: Path | str, *, renames: Mapping[str, str] | None = None):
        """Open a dataset.

        Args:
            root: Its folder; `~` is the home folder.
            renames: Features to be called by another name than the dataset's own (`foreact.data.renaming`).

        Raises:
            DatasetError: No dataset, an unsupported version, a damaged `meta/`, a missing file, an unknown name.
        """
        # Absolute, since libraries take a relative path with a colon in it for an address.
        self.root = Path(root).expanduser().absolute()
        self._layout: Layout = read_layout(self.root)
        self.renames = dict(renames or {})
        """The dataset's own names that are not used, and what is used instead."""
        self._renaming = Renaming(f"dataset {self.root}", self._layout.info["features"], self.renames)
        paths = self._layout.paths()
        check_inside(self.root, paths)
        missing = sorted(path for path in paths if not path.is_file())
        if missing:
            raise DatasetError(
                f"dataset {self.root}: {missing[0].relative_to(self.root)} is missing",
                got=f"{len(missing)} of {len(paths)} files missing",
                cure=CURE,
            )

    def renamed(self, renames: Mapping[str, str]) -> "EpisodeDataset":
        """Return the same dataset with other names of its features.

        Raises:
            DatasetError: A name that is not there.
        """
        return EpisodeDataset(self.root, renames=renames)

    @property
    def fps(self) -> int | float:
        """Rows per second."""
        return self._layout.info["fps"]

    @property
    def robot_type(self) -> str | None:
        """The robot's name, where the dataset says it."""
        return self._layout.info.get("robot_type")

    @property
    def version(self) -> str:
        """LeRobot's version of the format, such as "v3.0"."""
        return self._layout.info["codebase_version"]

    @property
    def features(self) -> Mapping[str, Any]:
        """`dtype`, `shape` and `names` of every column and camera, as in `meta/info.json`."""
        return self._renaming.features

    @property
    def camera_keys(self) -> list[str]:
        """Keys of the cameras, such as "observation.images.top"; depth cameras are not among them."""
        return [key for key, feature in self.features.items() if feature["dtype"] in PICTURES and not is_depth(feature)]

    @property
    def column_names(self) -> list[str]:
        """Names of the numeric columns."""
        return [name for name, feature in self.features.items() if _is_numeric(feature)]

    @property
    def num_episodes(self) -> int:
        """How many episodes."""
        return self._layout.num_episodes

    @property
    def num_frames(self) -> int:
        """Rows of all episodes."""
        return int(self._layout.lengths.sum())

    @property
    def lengths(self) -> Int[np.ndarray, " episodes"]:
        """Rows of each episode."""
        return self._layout.lengths

    @property
    def instructions(self) -> tuple[str, ...]:
        """The different instructions in the table of tasks, in the order of their numbers."""
        details = self._layout.instructions
        return tuple(dict.fromkeys(details[index] for index in sorted(details)))

    @cached_property
    def stats(self) -> Mapping[str, Summary]:
        """The dataset's own statistics, empty where it has none; their quantiles are approximate, `column`'s exact.

        Raises:
            DatasetError: Their file is damaged.
        """
        return self._layout.read_stats()

    def frame_size(self, camera_key: str) -> tuple[int, int]:
        """Return a camera's height and width, as `meta/info.json` says, whichever axis comes first there.

        Raises:
            DatasetError: No such camera, those there are are listed; or a shape that is no picture's.
        """
        self.require(cameras=[camera_key])
        feature = self.features[camera_key]
        shape = tuple(feature["shape"])
        sides = [n for n, size in enumerate(shape) if n != _channel_axis(shape, feature.get("names"))]
        if len(sides) != 2:
            raise DatasetError(
                f"dataset {self.root}: shape of {camera_key!r}", got=shape, allowed="height, width and channels"
            )
        return shape[sides[0]], shape[sides[1]]

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
        if fps is not None and not np.isclose(fps, self.fps, rtol=1e-3, atol=0):
            raise DatasetError(
                f"dataset {self.root}: fps",
                got=self.fps,
                allowed=fps,
                cure="give the robot with that rate: foreact embodiment DATA --out my_robot.toml proposes one",
            )
        for kind, wanted, names in (
            ("column", columns, self.column_names),
            ("camera", cameras, self.camera_keys),
        ):
            for name in wanted:
                if name not in names:
                    raise DatasetError(
                        f"dataset {self.root} has no such {kind}",
                        got=repr(name),
                        allowed=", ".join(names) or f"it has no {kind}s",
                        cure=rename_hint(name, names),
                    )

    def episode(self, index: int) -> "Episode":
        """Return an episode by its place among those there are; its rows and frames are read when asked for.

        Raises:
            DatasetError: No such episode.
        """
        if not 0 <= index < self.num_episodes:
            raise DatasetError(f"dataset {self.root}: episode", got=index, allowed=f"0 to {self.num_episodes - 1}")
        return Episode(self, self._layout, self._renaming, index)

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

    def __init__(self, dataset: EpisodeDataset, layout: Layout, renaming: Renaming, index: int):
        """Remember where the episode lies; nothing is read yet."""
        self._dataset, self._layout, self._renaming = dataset, layout, renaming
        self._index, self._record = index, layout.record(index)
        self._columns: dict[str, np.ndarray] = {}

    @property
    def index(self) -> int:
        """Its place among the dataset's episodes, from 0 and without gaps."""
        return self._index

    @property
    def number(self) -> int:
        """Its own number in the dataset, which may have gaps where episodes were taken out."""
        return self._record.number

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return self._dataset.root

    @property
    def record(self) -> EpisodeRecord:
        """Where it lies on disk."""
        return self._record

    @property
    def length(self) -> int:
        """Rows."""
        return self._record.length

    @property
    def instruction(self) -> str:
        """The task in words; where it changes within the episode, the first one.

        Raises:
            DatasetError: No column says which task it is, or the task's number is not in the table.
        """
        if len(self._record.instructions) == 1:
            return self._record.instructions[0]
        number = int(self.column("task_index")[0, 0])
        if number not in self._layout.instructions:
            raise DatasetError(
                f"{self._where}: task_index",
                got=number,
                allowed=f"a number in the table of tasks: {', '.join(map(str, self._layout.instructions)) or 'none'}",
                cure=CURE,
            )
        return self._layout.instructions[number]

    def column(self, name: str) -> Shaped[np.ndarray, "rows entries"]:
        """Return a numeric column in its own type, in the order of the rows; a plain number becomes one entry.

        Raises:
            DatasetError: No such column, a damaged file, another number of rows, a NaN or infinity.
        """
        self._dataset.require(columns=[name])
        if name not in self._columns:
            values = self._values(name)
            if finding := check_finite(self._where, name, values):
                raise finding.error()
            self._columns[name] = values
        return self._columns[name]

    @cached_property
    def times_s(self) -> Float[np.ndarray, " rows"]:
        """When each row was recorded, as its timestamp says; without that column, by the dataset's fps.

        Raises:
            DatasetError: The rows are further apart, or closer, than the dataset's fps says.
        """
        if "timestamp" not in self._dataset.column_names or not self._has("timestamp"):
            return np.arange(self.length) / self._dataset.fps
        times_s = self.column("timestamp")[:, 0].astype(np.float64)
        if finding := check_row_rate(self._where, times_s, self._dataset.fps):
            raise finding.error()
        return times_s

    def frames(self, camera_key: str, rows: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "frames height width 3"]:
        """Return the camera's frames at the given rows, in the order asked, RGB.

        Raises:
            DatasetError: No such camera or row, or a video that is damaged or does not fit the rows.
        """
        self._dataset.require(cameras=[camera_key])
        outside = [row for row in rows if not 0 <= row < self.length]
        if outside:
            raise DatasetError(f"episode {self.index}: row", got=outside[0], allowed=f"0 to {self.length - 1}")
        wanted = np.asarray(rows, int)
        if self._dataset.features[camera_key]["dtype"] == "image":
            return self._pictures(camera_key, wanted)
        return self.film(camera_key).frames(self.frame_numbers(camera_key)[wanted])

    def film(self, camera_key: str) -> Film:
        """Return the film that holds the episode's frames of a camera, and perhaps other episodes'.

        Raises:
            DatasetError: It is missing or damaged.
        """
        return open_film(self._clip(camera_key).path)

    def frame_numbers(self, camera_key: str) -> Int[np.ndarray, " rows"]:
        """Return which frame of its film belongs to each row.

        Where a film has exactly as many frames as its episodes have rows, they belong together one by one. Otherwise
        (frames beyond the last row, episodes taken out) each row has the frame nearest in time, half a period away at
        most, counted from the film's first frame.

        Raises:
            DatasetError: The film has too few frames, runs at another rate, or has no frame at a row's time.
        """
        clip, film, fps = self._clip(camera_key), self.film(camera_key), self._dataset.fps
        if film.num_frames < clip.rows_in_file:
            raise DatasetError(
                f"video {clip.path}",
                got=f"{film.num_frames} frames",
                allowed=f"{clip.rows_in_file}, as many as its episodes have rows",
                cure=CURE,
            )
        times_s = self.times_s
        if film.num_frames == clip.rows_in_file:
            if film.num_frames > 1 and (finding := check_rate(f"video {clip.path}", "frames", film.period_s, fps)):
                raise finding.error()
            return clip.first_frame + np.arange(self.length)
        numbers, near = film.nearest(clip.start_s + times_s, HALF_A_PERIOD / fps)
        if not near.all() or (np.diff(numbers) < 1).any():
            row = int(np.flatnonzero(~near | (np.diff(numbers, prepend=-1) < 1))[0])
            raise DatasetError(
                f"video {clip.path}, episode {self.number}, row {row}",
                got=f"no frame of its own at {clip.start_s + times_s[row]:.4f} s",
                allowed=f"one within {HALF_A_PERIOD / fps:.4f} s, half the time from row to row",
                cure="check the dataset's fps and timestamps: foreact doctor DATA shows them",
            )
        return numbers

    def film_path(self, camera_key: str) -> Path | None:
        """Return the file of a camera's film; None if its pictures are in the parquet rows."""
        return None if self._dataset.features[camera_key]["dtype"] == "image" else self._clip(camera_key).path

    def picture_digest(self, camera_key: str) -> bytes:
        """Return a hash of the compressed pictures of a camera, and of which one belongs to which row.

        Raises:
            DatasetError: They are missing or damaged, or do not fit the rows.
        """
        if self.film_path(camera_key) is None:
            cells = self._file.read(self._rows, [self._renaming.original(camera_key)]).column(0).to_pylist()
            content = [cell_bytes(cell, self.root) or b"" for cell in cells]
            return hashlib.blake2b(b"".join(hashlib.blake2b(c).digest() for c in content), digest_size=16).digest()
        numbers = self.frame_numbers(camera_key)
        digest = hashlib.blake2b((numbers - numbers[0]).tobytes(), digest_size=16)
        digest.update(self.film(camera_key).digest(int(numbers[0]), int(numbers[-1])))
        return digest.digest()

    def clamp(self, rows: Sequence[int] | np.ndarray) -> tuple[Int[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
        """Return the rows, those outside the episode replaced by its nearest one, and which those are.

        This is LeRobot's window over an episode's end, with its padding flags.
        """
        wanted = np.asarray(rows, int)
        clamped = wanted.clip(0, self.length - 1)
        return clamped, clamped != wanted

    @property
    def _where(self) -> str:
        return f"{self._record.table}, episode {self.number}"

    def _clip(self, camera_key: str) -> Clip:
        return self._record.clips[self._renaming.original(camera_key)]

    @cached_property
    def _file(self) -> TableFile:
        return open_table(self._record.table)

    @cached_property
    def _rows(self) -> Int[np.ndarray, " rows"]:
        """Where the episode's rows are in their file."""
        return self._file.rows_of(self._record.number, self.length, self._record.first_index)

    def _has(self, name: str) -> bool:
        """Whether the file has a column, by foreact's name."""
        return self._renaming.original(name) in self._file.columns

    @cached_property
    def _table(self) -> pa.Table:
        """The episode's own rows, all numeric columns that the file has."""
        names = [self._renaming.original(name) for name in self._dataset.column_names if self._has(name)]
        return self._file.read(self._rows, names)

    def _pictures(self, camera_key: str, rows: Int[np.ndarray, " rows"]) -> UInt8[np.ndarray, "frames height width 3"]:
        """Return pictures that are kept in the parquet rows."""
        name = self._renaming.original(camera_key)
        if name not in self._file.columns:
            raise self._lacks(name)
        cells = self._file.read(self._rows[rows], [name]).column(name).to_pylist()
        where = f"{self._where}, {name}, row"
        read = [read_cell(cell, self._dataset.root, f"{where} {row}") for cell, row in zip(cells, rows, strict=True)]
        if len({picture.shape for picture in read}) > 1:
            raise DatasetError(f"{where}s", got="pictures of different sizes", allowed="one size for a camera")
        return np.stack(read) if read else np.empty((0, *self._dataset.frame_size(camera_key), 3), np.uint8)

    def _lacks(self, name: str) -> DatasetError:
        return DatasetError(
            f"{self._record.table} lacks the column {name!r} that meta/info.json announces",
            got=", ".join(self._file.columns),
            cure=CURE,
        )

    def _values(self, name: str) -> np.ndarray:
        """A column as [rows, entries]."""
        if not self._has(name):
            raise self._lacks(self._renaming.original(name))
        column = self._table.column(self._renaming.original(name)).combine_chunks()
        while pa.types.is_nested(column.type):
            column = column.flatten()
        values = column.to_numpy(zero_copy_only=False)
        width = int(np.prod(self._dataset.features[name]["shape"]))
        if values.size != self.length * width:
            raise DatasetError(
                f"{self._record.table}, episode {self.number}: column {name!r}",
                got=f"{values.size} numbers",
                allowed=f"{self.length} rows of {width}",
                cure=CURE,
            )
        return values.reshape(self.length, width)


def _is_numeric(feature: Mapping[str, Any]) -> bool:
    """Whether a feature is a column of numbers, rather than pictures or text."""
    return feature["dtype"].startswith(("float", "int", "uint", "bool"))


def _channel_axis(shape: Sequence[int], names: Any) -> int | None:
    """Return which axis of a picture's shape counts its colours."""
    labels = list(names) if isinstance(names, (list, tuple)) and len(names) == len(shape) else []
    for axis, label in enumerate(labels):
        if str(label).lower().startswith("c") and shape[axis] in (1, 3, 4):
            return axis
    return next((axis for axis in (len(shape) - 1, 0) if len(shape) == 3 and shape[axis] in (1, 3, 4)), None)
