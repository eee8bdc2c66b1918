import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foreact.data.recorder import DatasetWriter
from foreact.data.video import VideoSettings, encode_video

FPS = 50
SIZE = (16, 24)
GOLDEN = Path(__file__).parents[1] / "golden/lerobot_v3"


class Recordings:
    """Small made-up episodes, and datasets of them in either version."""

    cameras: ClassVar = {"observation.images.top": SIZE, "observation.images.left_wrist": SIZE}
    features: ClassVar = {
        "observation.state": ["a", "b", "c"],
        "action": ["a", "b", "c"],
        "reward": ["reward"],
    }
    instructions = ("lift it", "hand it over", "lift it")
    lengths = (9, 14, 5)

    def open(self, root: Path, **changes) -> DatasetWriter:
        settings = {"fps": FPS, "robot_type": "toy", "features": self.features, "cameras": self.cameras}
        return DatasetWriter.create_or_resume(root, **(settings | changes))

    def columns(self, number: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(number)
        length = self.lengths[number % 3]
        sizes = {name: len(entries) for name, entries in self.features.items()}
        return {name: rng.normal(size=(length, size)).astype(np.float32) for name, size in sizes.items()}

    def frames(self, number: int, camera: str) -> Iterator[np.ndarray]:
        """A smooth picture in which a square wanders; every frame differs."""
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        for row in range(self.lengths[number % 3]):
            picture = np.stack([8 * y, 5 * x, 4 * (x + y)], -1).astype(np.uint8)
            start = 2 * (number + row) % 18
            picture[4:10, start : start + 6] = (200, 10 * row, 255 * (camera.endswith("top")))
            yield picture

    def episode(self, number: int) -> dict:
        return {
            "columns": self.columns(number),
            "videos": {key: self.frames(number, key) for key in self.cameras},
            "instruction": self.instructions[number % 3],
        }

    def write(self, root: Path, num_episodes: int = 3) -> Path:
        with self.open(root) as writer:
            for number in range(writer.num_episodes, num_episodes):
                writer.add_episode(**self.episode(number))
        return root

    def write_v21(self, root: Path) -> Path:
        """The same episodes in LeRobot's version 2.1, by hand."""
        features = {
            name: {"dtype": "float32", "shape": [len(names)], "names": names} for name, names in self.features.items()
        }
        features |= {key: {"dtype": "video", "shape": [*SIZE, 3], "names": None} for key in self.cameras}
        features |= {"timestamp": {"dtype": "float32", "shape": [1], "names": None}}
        features |= {
            name: {"dtype": "int64", "shape": [1], "names": None}
            for name in ("frame_index", "episode_index", "index", "task_index")
        }
        info = {
            "codebase_version": "v2.1",
            "robot_type": "toy",
            "total_episodes": 3,
            "total_frames": sum(self.lengths),
            "total_tasks": 2,
            "total_videos": 6,
            "total_chunks": 2,
            "chunks_size": 2,
            "fps": FPS,
            "splits": {"train": "0:3"},
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
            "features": features,
        }
        first, episodes, stats = 0, [], []
        for number, length in enumerate(self.lengths):
            place = {"episode_chunk": number // 2, "episode_index": number}
            columns = self.columns(number)
            table = {name: list(values) if values.shape[1] > 1 else values[:, 0] for name, values in columns.items()}
            table |= {
                "timestamp": (np.arange(length) / FPS).astype(np.float32),
                "frame_index": np.arange(length),
                "episode_index": np.full(length, number),
                "index": first + np.arange(length),
                "task_index": np.full(length, number % 2),
            }
            path = root / info["data_path"].format(**place)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(table), path)
            for key in self.cameras:
                path = root / info["video_path"].format(video_key=key, **place)
                path.parent.mkdir(parents=True, exist_ok=True)
                frames = self.frames(number, key)
                path.write_bytes(encode_video(frames, fps=FPS, size=SIZE, settings=VideoSettings()))
            episodes.append({"episode_index": number, "tasks": [self.instructions[number]], "length": length})
            action = columns["action"].astype(float)
            summary = {
                "min": action.min(0).tolist(),
                "max": action.max(0).tolist(),
                "mean": action.mean(0).tolist(),
                "std": action.std(0).tolist(),
                "count": [length],
            }
            stats.append({"episode_index": number, "stats": {"action": summary}})
            first += length
        tasks = [{"task_index": index, "task": task} for index, task in enumerate(self.instructions[:2])]
        (root / "meta").mkdir()
        (root / "meta/info.json").write_text(json.dumps(info))
        for name, lines in (("episodes", episodes), ("episodes_stats", stats), ("tasks", tasks)):
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (root / f"meta/{name}.jsonl").write_text(text)
        return root


@pytest.fixture(scope="session")
def recordings() -> Recordings:
    return Recordings()


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN
