"""Real ROS 2 message definitions with their real wire format, by way of `rosbags`; and a robot behind such messages."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

PACKAGE = Path(__file__).parents[1]
for folder in (PACKAGE, PACKAGE / "test"):  # colcon puts the package there itself
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from foreact_ros2.settings import BridgeSettings, read_parameters  # noqa: E402


class Ros:
    """ROS 2's messages: blank ones, and over the wire."""

    def __init__(self):
        stores = pytest.importorskip("rosbags.typesys")
        self.store = stores.get_typestore(stores.Stores.ROS2_JAZZY)

    def blank(self, kind: str, **given: Any) -> Any:
        """A message with every field zero or empty, as ROS's own constructors make it, but for those given."""
        definition = self.store.fielddefs[kind][1]
        return self.store.types[kind](**{name: self._zero(field) for name, field in definition} | given)

    def wire(self, message: Any) -> Any:
        """The message as it arrives: through bytes, with what types other than arrays ROS lets one set made arrays."""
        kind = message.__msgtype__
        return self.store.deserialize_cdr(self.store.serialize_cdr(self._arrays(message), kind), kind)

    def header(self, time_s: float) -> Any:
        whole_s = int(time_s)
        stamp = self.blank("builtin_interfaces/msg/Time", sec=whole_s, nanosec=round((time_s - whole_s) * 1e9))
        return self.blank("std_msgs/msg/Header", stamp=stamp)

    def image(self, pixels: np.ndarray, *, time_s: float = 100.0, encoding: str = "rgb8", padding: int = 0) -> Any:
        """Of uint8 [height, width, bytes a pixel]; `padding` bytes of rubbish end each row."""
        height, width = pixels.shape[:2]
        rows = np.concatenate([pixels.reshape(height, -1), np.full((height, padding), 99, np.uint8)], axis=1)
        return self.blank(
            "sensor_msgs/msg/Image",
            header=self.header(time_s),
            height=height,
            width=width,
            encoding=encoding,
            step=rows.shape[1],
            data=rows.reshape(-1),
        )

    def joints(self, positions: dict[str, float], *, time_s: float = 100.0) -> Any:
        return self.blank(
            "sensor_msgs/msg/JointState",
            header=self.header(time_s),
            name=list(positions),
            position=np.array(list(positions.values()), np.float64),
        )

    def _zero(self, field: Any) -> Any:
        node, detail = field
        if node.name == "BASE":
            return {"string": "", "bool": False}.get(detail[0], 0.0 if detail[0].startswith("float") else 0)
        if node.name == "NAME":
            return self.blank(detail)
        inner = detail[0]
        number = inner[0].name == "BASE" and inner[1][0] not in ("string",)
        return np.zeros(0, inner[1][0]) if number else []

    def _arrays(self, message: Any) -> Any:
        for name, (node, detail) in self.store.fielddefs[message.__msgtype__][1]:
            value = getattr(message, name)
            if node.name == "NAME":
                self._arrays(value)
            elif node.name == "SEQUENCE" and detail[0][0].name == "NAME":
                for each in value:
                    self._arrays(each)
            elif node.name == "SEQUENCE" and detail[0][1][0] != "string":
                setattr(message, name, np.asarray(value, detail[0][1][0]))
        return message


@pytest.fixture(scope="session")
def ros() -> Ros:
    return Ros()


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names to values, as ROS has its parameters."""
    flat = {}
    for name, value in nested.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


@pytest.fixture(scope="session")
def aloha() -> dict[str, Any]:
    """The example's parameters, under dotted names."""
    return flatten(yaml.safe_load((PACKAGE / "config/aloha.yaml").read_text())["/**"]["ros__parameters"])


@pytest.fixture
def parameters() -> dict[str, Any]:
    """Two cameras, and three joints in two groups; the gripper is in other units."""
    wide = {"low": -2.0, "high": 2.0, "velocity": 5.0, "acceleration": 50.0}
    return flatten(
        {
            "cameras": {"top": {"topic": "/top"}, "wrist": {"topic": "/wrist", "compressed": True}},
            "joints": {
                "shoulder": {"joint": "arm/1", **wide},
                "elbow": {"joint": "arm/2", **wide},
                "gripper": {"joint": "finger", "scale": 0.04, "offset": 0.01, **wide, "low": 0.0, "high": 1.0},
            },
            "commands": {
                "arm": {"topic": "/arm/joint_trajectory", "joints": ["arm/2", "arm/1"]},
                "hand": {"topic": "/hand/commands", "joints": ["finger"], "message": "array"},
            },
            "instruction": "push it",
        }
    )


@pytest.fixture
def configured(parameters: dict[str, Any]) -> Callable[..., BridgeSettings]:
    return lambda **changes: read_parameters(parameters | changes)
