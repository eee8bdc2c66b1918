"""The settings of a LeRobot v3.0 dataset, as `meta/info.json` states them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foreact.data.lerobot_files import CHUNKS_SIZE, DATA_PATH, VIDEO_PATH
from foreact.data.video import VideoSettings, check_frame_size
from foreact.errors import ConfigurationError, DatasetError, InputError

COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""The columns LeRobot adds by itself, with their types."""


def new_info(
    *,
    fps: int,
    robot_type: str,
    features: Mapping[str, Sequence[str]],
    cameras: Mapping[str, tuple[int, int]],
    video: VideoSettings,
) -> dict[str, Any]:
    """Return the `meta/info.json` of an empty dataset.

    Raises:
        ConfigurationError: fps, a name or a frame size that cannot be.
    """
    if not isinstance(fps, int) or fps < 1:
        raise ConfigurationError("fps", got=fps, allowed="a whole number of rows per second, 1 or more")
    declared: dict[str, Any] = {}
    for key, size in cameras.items():
        check_frame_size(key, size)
        declared[key] = _video_feature(size, fps, video)
    for name, entries in features.items():
        declared[name] = {"dtype": "float32", "shape": [len(entries)], "names": list(entries)}
    for name in [*cameras, *features]:
        if "/" in name or name in COUNTERS or (name in features and (name in cameras or not features[name])):
            raise ConfigurationError(
                f"feature {name!r}",
                allowed=f"a name without '/', used once, none of {', '.join(COUNTERS)}; one entry or more",
            )
    declared |= {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in COUNTERS.items()}
    return {
        "codebase_version": "v3.0",
        "fps": fps,
        "features": declared,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": CHUNKS_SIZE,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "robot_type": robot_type,
        "splits": {},
    }


def _video_feature(size: tuple[int, int], fps: int, video: VideoSettings) -> dict[str, Any]:
    """Return a camera's entry."""
    return {
        "dtype": "video",
        "shape": [*size, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": size[0],
            "video.width": size[1],
            "video.codec": video.format_name,
            "video.pix_fmt": video.pixel_format,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
            "video.g": video.keyframe_interval,
            "video.crf": video.crf,
            "video.preset": video.preset,
            "is_depth_map": False,
        },
    }


def check_same_settings(root: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to carry on a dataset of another kind.

    Raises:
        DatasetError: Another version, fps, robot type or feature.
    """
    pairs = {name: (found.get(name), wanted[name]) for name in ("codebase_version", "fps", "robot_type")}
    ours, theirs = wanted["features"], found.get("features", {})
    pairs |= {f"feature {name!r}": (theirs.get(name), ours.get(name)) for name in [*ours, *theirs]}
    for name, (old, new) in pairs.items():
        if old != new:
            raise DatasetError(
                f"dataset {root}: {name}",
                got=new or "none",
                allowed=f"{old or 'none'}, as in its earlier episodes",
                cure="record into a new folder",
            )


def camera_sizes(info: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return height and width of every camera."""
    features = info["features"]
    return {key: tuple(value["shape"][:2]) for key, value in features.items() if value["dtype"] == "video"}


def checked_columns(info: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return an episode's declared columns as float32, in the declared order.

    Raises:
        InputError: Other columns than declared, another shape, a NaN or infinity.
    """
    shapes = {
        name: tuple(feature["shape"])
        for name, feature in info["features"].items()
        if feature["dtype"] != "video" and name not in COUNTERS
    }
    check_names("columns", columns, shapes)
    length = len(next(iter(columns.values()), ()))
    for name, shape in shapes.items():
        values = columns[name]
        if values.shape != (length, *shape) or not length:
            raise InputError(f"column {name!r}", got=values.shape, allowed=f"{(max(length, 1), *shape)}")
        if not np.isfinite(values).all():
            row, entry = np.argwhere(~np.isfinite(values))[0]
            raise InputError(
                f"column {name!r}, row {row}, entry {entry}", got=values[row, entry], allowed="finite numbers"
            )
    return {name: columns[name].astype(np.float32) for name in shapes}


def check_names(kind: str, got: Mapping[str, Any], declared: Mapping[str, Any]) -> None:
    """Refuse an episode with more or less than was declared.

    Raises:
        InputError: Names are missing or unknown.
    """
    if set(got) != set(declared):
        raise InputError(f"{kind} of the episode", got=sorted(got), allowed=sorted(declared))
