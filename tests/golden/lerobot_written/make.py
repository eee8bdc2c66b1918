"""Records a small dataset with the LeRobot that is installed, and writes down what that LeRobot returns for every row.

    LEROBOT/bin/python make.py OUT KIND

KIND is `h264`, `hevc` or `av1` (films), or `pictures` (PNG in the parquet rows). OUT/dataset is the dataset,
OUT/items.npz what LeRobot returns for each row: the columns, the instruction, and every fourth pixel of every picture.
Made with LeRobot 0.3.3 (version 2.1) and 0.4.4 (3.0), each in an environment of its own.
"""

import functools
import inspect
import sys
from importlib.metadata import version
from pathlib import Path

import lerobot.datasets.lerobot_dataset as module
import numpy as np

FPS, SIZE, LENGTHS = 15, (64, 64), (9, 12, 7)
CAMERAS = ("observation.images.front", "observation.images.wrist")
JOINTS = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
TASKS = ("Pick up the cube.", "Put it into the box.", "Pick up the cube.")
ENCODERS = {"h264": "h264", "hevc": "hevc", "av1": "libsvtav1"}


def picture(number: int, camera: str) -> np.ndarray:
    """A picture of slopes, in which a square says which frame it is."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    base = np.stack([2 * y + 60, 2 * x + 60, (x + y) if camera.endswith("front") else 200 - x - y], -1)
    row, column = divmod(number % 36, 6)
    base[8 + 8 * row : 16 + 8 * row, 8 + 8 * column : 16 + 8 * column] = (220, 40, 40)
    return base.astype(np.uint8)


def record(root: Path, kind: str):
    """Record the episodes as a user's recorder does."""
    features = {
        name: {"dtype": "float32", "shape": (6,), "names": [f"{joint}.pos" for joint in JOINTS]}
        for name in ("observation.state", "action")
    }
    dtype = "image" if kind == "pictures" else "video"
    features |= {
        key: {"dtype": dtype, "shape": (*SIZE, 3), "names": ["height", "width", "channels"]} for key in CAMERAS
    }
    settings = {"fps": FPS, "features": features, "root": root, "robot_type": "so101_follower"}
    if dtype == "image":
        settings["use_videos"] = False
    elif "vcodec" in inspect.signature(module.LeRobotDataset.create).parameters:
        settings["vcodec"] = ENCODERS[kind]
    else:
        module.encode_video_frames = functools.partial(module.encode_video_frames, vcodec=ENCODERS[kind])
    dataset = module.LeRobotDataset.create("me/data", **settings)
    rng = np.random.default_rng(0)
    number = 0
    task_apart = "task" in inspect.signature(dataset.add_frame).parameters
    for length, task in zip(LENGTHS, TASKS, strict=True):
        for _ in range(length):
            state = rng.uniform(-60, 60, 6).astype(np.float32)
            frame = {"observation.state": state, "action": state + np.float32(0.5)}
            frame |= {key: picture(number, key) for key in CAMERAS}
            dataset.add_frame(frame, task) if task_apart else dataset.add_frame(frame | {"task": task})
            number += 1
        dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()


def _item(dataset, number: int) -> dict:
    """What LeRobot returns for a row; without its pictures where it refuses them.

    Its decoder by PyAV fails at every second frame of the films that it makes with hevc.
    """
    try:
        return dataset[number]
    except (AssertionError, RuntimeError, ValueError) as error:
        print(f"row {number}: {type(error).__name__}")
        row = dataset.hf_dataset[number]
        tasks = dataset.meta.tasks
        index = int(row["task_index"])
        return row | {"task": tasks[index] if isinstance(tasks, dict) else tasks.iloc[index].name}


def _thinned(picture) -> np.ndarray:
    return np.asarray(picture).transpose(1, 2, 0)[::4, ::4]


def main(out: Path, kind: str) -> None:
    """Record, read back with LeRobot, and write down."""
    root = out / "dataset"
    record(root, kind)
    backend = {} if kind == "pictures" else {"video_backend": "pyav"}
    dataset = module.LeRobotDataset("me/data", root=root, tolerance_s=0.01, **backend)
    items = [_item(dataset, n) for n in range(len(dataset))]
    columns = [name for name in items[0] if name not in CAMERAS and name != "task"]
    stored = {name: np.stack([np.asarray(item[name]) for item in items]) for name in columns}
    stored["task"] = np.array([item["task"] for item in items])
    stored["refused"] = np.array([CAMERAS[0] not in item for item in items])
    for key in CAMERAS:
        every = np.stack([_thinned(item[key]) if key in item else np.zeros((16, 16, 3)) for item in items])
        stored[key] = np.rint(255 * every).astype(np.uint8)
    np.savez_compressed(out / "items.npz", lerobot=version("lerobot"), **stored)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
