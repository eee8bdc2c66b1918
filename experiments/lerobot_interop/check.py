"""Does LeRobot's own library read our datasets as we do? README.md has the commands.

check.py record OUT              # ours: a small dataset
check.py interrupt OUT           # ours: eight of them, each stopped at another file while adding an episode
check.py dump ROOT ITEMS.npz     # LeRobot's environment: every item of a dataset
check.py compare ROOT ITEMS.npz  # ours: the same items, compared
"""

import contextlib
import sys
from pathlib import Path

import numpy as np

WINDOW_S = [0.0, 0.08, 0.16]
NUM_ACTIONS = 16


EPISODES = [(37, "lift the red cube"), (50, "hand the cube over"), (24, "lift the red cube")]
CAMERAS = {f"observation.images.{name}": (64, 96) for name in ("top", "left_wrist", "right_wrist")}
COLUMNS = ("observation.state", "action", "executed_action")


def _frames(length: int, phase: float):
    """A disc that moves over a gradient."""
    y, x = np.mgrid[:64, :96]
    for row in range(length):
        near = np.hypot(y - 32 - 20 * np.sin(row / 9 + phase), x - 48 - 30 * np.cos(row / 7)) < 9
        yield np.where(near[..., None], [230, 40, 30], np.stack([2 * x, 3 * y, x + y], -1)).astype(np.uint8)


def _add(root: Path, numbers: range) -> None:
    """Open the dataset, new or not, and add the episodes."""
    from foreact.data.recorder import DatasetWriter

    names = [f"joint_{number}" for number in range(14)]
    features = dict.fromkeys(COLUMNS, names)
    with DatasetWriter.create_or_resume(root, fps=50, robot_type="aloha", features=features, cameras=CAMERAS) as writer:
        for number in numbers:
            length, instruction = EPISODES[number]
            rng = np.random.default_rng(number)
            writer.add_episode(
                columns={name: rng.normal(size=(length, 14)).astype(np.float32) for name in COLUMNS},
                videos={key: _frames(length, phase) for phase, key in enumerate(CAMERAS)},
                instruction=instruction,
            )


def record(root: str) -> None:
    """Write three short episodes of moving shapes and random numbers, in two sittings."""
    _add(Path(root), range(2))
    _add(Path(root), range(2, 3))


def interrupt(root: str) -> None:
    """Write two episodes, then stop at each of the eight files of the third, leaving everything as it is."""
    replace = Path.replace
    for moment in range(8):
        _add(Path(root) / str(moment), range(2))
        left = moment

        def stopped(path: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return replace(path, target)

        Path.replace = stopped
        with contextlib.suppress(KeyboardInterrupt):
            _add(Path(root) / str(moment), range(2, 3))
        Path.replace = replace


def dump(root: str, target: str) -> None:
    """Save every item of the dataset, alone and as a window, as LeRobot returns it."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    plain = LeRobotDataset("local/check", root=root, video_backend="pyav")
    times = {key: WINDOW_S for key in plain.meta.camera_keys} | {
        "action": [step / plain.fps for step in range(NUM_ACTIONS)]
    }
    windowed = LeRobotDataset("local/check", root=root, video_backend="pyav", delta_timestamps=times)
    arrays = {}
    for kind, dataset in (("item", plain), ("window", windowed)):
        for number in range(len(dataset)):
            for key, value in dataset[number].items():
                arrays[f"{kind}/{number}/{key}"] = np.asarray(value)
    for key, summary in plain.meta.stats.items():
        for name, value in summary.items():
            arrays[f"stats/{key}/{name}"] = np.asarray(value)
    np.savez_compressed(target, **arrays)
    print(f"LeRobot: {plain.num_episodes} episodes, {len(plain)} items, cameras {plain.meta.camera_keys}")


def compare(root: str, source: str) -> None:
    """Print by how much our reader differs from what LeRobot returned."""
    from foreact.data.episodes import EpisodeDataset

    dataset = EpisodeDataset(root)
    expected = np.load(source)
    worst_pixel, num_checked = 0.0, 0
    for episode in dataset:
        for row, number in enumerate(episode.column("index")[:, 0].tolist()):
            assert str(expected[f"item/{number}/task"]) == episode.instruction
            for name in dataset.column_names:
                assert np.array_equal(expected[f"item/{number}/{name}"].reshape(-1), episode.column(name)[row])
                num_checked += 1
            rows, is_pad = episode.clamp(np.arange(row, row + NUM_ACTIONS))
            assert np.array_equal(expected[f"window/{number}/action"], episode.column("action")[rows])
            assert np.array_equal(expected[f"window/{number}/action_is_pad"], is_pad)
            for key in dataset.camera_keys:
                rows, is_pad = episode.clamp([row + round(time_s * dataset.fps) for time_s in WINDOW_S])
                assert np.array_equal(expected[f"window/{number}/{key}_is_pad"], is_pad)
                frames = episode.frames(key, rows).transpose(0, 3, 1, 2) / 255
                for theirs, ours in (
                    (expected[f"window/{number}/{key}"], frames),
                    (expected[f"item/{number}/{key}"], frames[0]),
                ):
                    worst_pixel = max(worst_pixel, float(np.abs(theirs - ours).max()))
                    num_checked += 1
    for key, summary in dataset.stats.items():
        for name, value in summary.items():
            np.testing.assert_array_equal(expected[f"stats/{key}/{name}"], value)
    print(f"{num_checked} values of {dataset.num_frames} items: numbers equal, pixels within {worst_pixel:.2e}")
    assert worst_pixel <= 1 / 255


if __name__ == "__main__":
    steps = {"record": record, "interrupt": interrupt, "dump": dump, "compare": compare}
    if len(sys.argv) < 3 or sys.argv[1] not in steps:
        sys.exit(f"usage: check.py {{{'|'.join(steps)}}} ROOT [ITEMS.npz]")
    if sys.argv[1] in ("record", "interrupt") and Path(sys.argv[2]).exists():
        sys.exit(f"{sys.argv[2]} exists; name a new folder")
    steps[sys.argv[1]](*sys.argv[2:])
