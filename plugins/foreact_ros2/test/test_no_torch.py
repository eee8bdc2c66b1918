"""The robot's computer has no torch, and what does not need ROS imports none."""

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
{body}
assert not {blocked!r} & {{name.split(".")[0] for name in sys.modules}}
print("fine")
"""
WITHOUT_ROS = "from foreact_ros2 import heard, messages, runs, settings, topics_robot"


def run(body: str, *blocked: str) -> subprocess.CompletedProcess:
    import foreact

    source = Path(foreact.__file__).parents[1]
    path = f"import sys; sys.path[:0] = {[str(Path(__file__).parents[1]), str(Path(__file__).parent), str(source)]!r}\n"
    code = path + BLOCKED.format(blocked=set(blocked), body=body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_modules_need_neither_torch_nor_ros() -> None:
    done = run(
        WITHOUT_ROS, "torch", "rclpy", "sensor_msgs", "diffusers", "transformers", "einops", "jaxtyping", "scipy"
    )
    assert done.stdout == "fine\n", done.stderr


def test_the_node_needs_no_torch() -> None:
    pytest.importorskip("rosbags")
    body = "import stand_in; stand_in.install(); import foreact_ros2.node"
    done = run(body, "torch", "diffusers", "transformers", "scipy")
    assert done.stdout == "fine\n", done.stderr


def test_this_test_can_fail() -> None:
    assert "ModuleNotFoundError: torch" in run("import torch", "torch").stderr
