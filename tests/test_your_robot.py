"""docs/your_robot.md from its first command to its last, on a made-up dataset of an SO-101 with two cameras."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from foreact.data.recorder import DatasetWriter
from foreact.embodiments import load_embodiment

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your_robot.md").read_text()
JOINTS = [
    f"{name}.pos" for name in ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
]
LOW = np.array([-60.0, -90.0, -20.0, -40.0, -90.0, 2.0])
HIGH = np.array([60.0, 20.0, 95.0, 80.0, 90.0, 95.0])
TASK = "Put the block in the box."
SHORTER = {
    "train-vae": "--num-steps 2 --num-frames 5",
    "train": "--optimization.num-steps 2 --batch.global-batch 2 --batch.micro-batch 2 --batch.max-frames 5",
}
"""What the test adds to a command so that it ends soon; it is otherwise as printed."""


def commands() -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(r"^    foreact (.*)$", PAGE, re.MULTILINE)]


def record(root: Path) -> None:
    """Write what `lerobot-record` would have: six joints in degrees and per cent, two cameras."""
    rng = np.random.default_rng(0)
    with DatasetWriter.create_or_resume(
        root,
        fps=30,
        robot_type="so101_follower",
        features={"observation.state": JOINTS, "action": JOINTS},
        cameras={f"observation.images.{name}": (120, 160) for name in ("front", "wrist")},
    ) as writer:
        for _ in range(8):
            time = np.linspace(0, 1, int(rng.integers(40, 56)))[:, None]
            begin, end = rng.uniform(LOW, HIGH), rng.uniform(LOW, HIGH)
            action = (begin + (end - begin) * (3 * time**2 - 2 * time**3)).astype(np.float32)
            state = np.concatenate([action[:1], action[:-1]])
            writer.add_episode(
                columns={"observation.state": state, "action": action},
                videos={f"observation.images.{name}": pictures(state, name) for name in ("front", "wrist")},
                instruction=TASK,
            )


def pictures(states: np.ndarray, camera: str) -> Iterator[np.ndarray]:
    for state in states:
        picture = np.full((120, 160, 3), (90, 110, 100) if camera == "front" else (60, 60, 80), np.uint8)
        row, column = int(60 - state[1] / 3), int(80 + state[0])
        picture[max(0, row - 8) : row + 8, max(0, column - 8) : column + 8] = (230, 200, 40)
        yield picture


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "foreact", *words, *shlex.split(SHORTER.get(words[0], ""))],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"foreact {shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """After steps 1 to 5."""
    folder = tmp_path_factory.mktemp("robot")
    record(folder / "data" / "block_in_box")
    before_serving = [words for words in commands() if words[0] != "serve"]
    assert [words[0] for words in before_serving] == [
        "doctor",
        "embodiment",
        "train-vae",
        "encode",
        "train",
        "evaluate",
    ]
    for words in before_serving:
        run(words, folder)
    return folder


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    """Step 6, on a free port."""
    (serve,) = [words for words in commands() if words[0] == "serve"]
    words = [sys.executable, "-m", "foreact", *serve[: serve.index("--port")], "--port", "0"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        found = next(found for line in server.stdout if (found := re.search(r"127\.0\.0\.1:\d+", line)))
        yield found[0]
        server.terminate()
        assert server.wait(timeout=30) == 0


@pytest.mark.slow
def test_what_the_commands_leave(folder) -> None:
    robot = load_embodiment(folder / "so101.toml")
    assert robot.dof_names == tuple(JOINTS) and robot.timing.action_hz == 30 and not robot.unlimited_dofs
    assert robot.dofs[0].unit == "deg"
    assert "<img" in (folder / "outputs" / "doctor.html").read_text()
    assert "shoulder_pan.pos" in (folder / "outputs" / "mine" / "results.json").read_text()


@pytest.mark.slow
def test_an_openpi_client_gets_degrees_within_the_recorded_range(folder, address) -> None:
    pytest.importorskip("openpi_client")
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    given: dict = {}
    exec(block.replace("8000", address.rpartition(":")[2]), given)
    actions = given["client"].infer(given["observation"])["actions"]
    assert actions.shape == (16, 6)
    low, high = load_embodiment(folder / "so101.toml").limits
    assert (actions >= low - 1e-3).all() and (actions <= high + 1e-3).all()
    assert np.abs(actions).max() > 5, "degrees, not radians or model units"


class StandIn:
    """LeRobot's interface of a robot; its joints are at once where they are sent."""

    def __init__(self) -> None:
        self.joints = dict(zip(JOINTS, [0.0, -40.0, 40.0, 20.0, 0.0, 30.0], strict=True))
        self.sent: list[list[float]] = []

    def get_observation(self) -> dict:
        state = np.array([list(self.joints.values())])
        return self.joints | {name: next(pictures(state, name)) for name in ("front", "wrist")}

    def send_action(self, action: dict[str, float]) -> None:
        assert list(action) == JOINTS
        self.joints = dict(action)
        self.sent.append(list(action.values()))


@pytest.mark.slow
def test_the_script_drives_an_arm_within_its_limits(folder, address) -> None:
    specification = importlib.util.spec_from_file_location("drive_so101", ROOT / "examples" / "so101" / "drive.py")
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    arm, robot = StandIn(), load_embodiment(folder / "so101.toml")
    report = script.run(arm, address, TASK, seconds=6.0)
    assert report.num_turns >= 2
    sent, (low, high) = np.array(arm.sent), robot.limits
    assert len(sent) > 30 and (sent >= low - 1e-3).all() and (sent <= high + 1e-3).all()
    fastest = np.array([dof.velocity for dof in robot.dofs])
    assert (np.abs(np.diff(sent, axis=0)) * 30 <= fastest * 1.001).all()
    assert np.ptp(sent, axis=0).max() > 1, "it moved"
