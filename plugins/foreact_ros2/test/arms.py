"""Two arms whose joints go where they are told, behind ROS messages or without; and a rosbag of what was said."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from foreact.control.clock import Clock
from foreact.control.emergency import EmergencyStop
from foreact.types import Observation
from foreact_ros2.messages import write_array, write_trajectory
from foreact_ros2.settings import BridgeSettings

EPOCH_S = 1_700_000_000
"""ROS time when the clock says 0."""


class Arms:
    """The plant: fourteen joints and a camera that shows where they are."""

    def __init__(self, num_dofs: int = 14):
        self.joints = np.linspace(0.1, 0.6, num_dofs).astype(np.float32)

    def picture(self) -> np.ndarray:
        shades = (60 + 150 * np.resize(self.joints, 16)).clip(0, 255).astype(np.uint8)
        return np.broadcast_to(np.repeat(shades, 4)[None, :, None], (64, 64, 3)).copy()


class DirectArms:
    """A robot without ROS."""

    done = False

    def __init__(self, clock: Clock, emergency: EmergencyStop, run_s: float):
        self.arms, self.commands = Arms(), []
        self._clock, self._emergency, self._end_s = clock, emergency, clock.now() + run_s

    def observe(self) -> Observation:
        return Observation(images={"top": self.arms.picture()}, state=self.arms.joints, time_s=0.0)

    def act(self, action: np.ndarray) -> None:
        if self._clock.now() >= self._end_s:
            self._emergency.stop("the time of the run is over")
        self.arms.joints = np.asarray(action, np.float32)
        self.commands.append(self.arms.joints)


class RosArms:
    """Hears commands as messages, and says pictures and joint states as messages: all through ROS's wire format."""

    def __init__(self, ros, settings: BridgeSettings, clock: Clock):
        self._ros, self._settings, self._clock = ros, settings, clock
        self.arms, self.robot = Arms(len(settings.joints)), None
        self.num_commands, self._told_s = 0, 0.0
        self.blind, self.on_command = False, lambda number: None
        self.keep: Callable[[str, Any], None] = lambda topic, message: None

    def now(self) -> float:
        return EPOCH_S + self._clock.now()

    def send(self, positions) -> None:
        """As the node does it, and what the controllers and drivers do then."""
        heard = {}
        for group, message in command_messages(self._ros, self._settings, positions):
            message = self._ros.wire(message)
            self.keep(group.topic, message)
            told = message.points[0].positions if group.message == "trajectory" else message.data
            assert group.message == "array" or message.joint_names == list(group.joints)
            heard |= dict(zip(group.joints, told.tolist(), strict=True))
        self.num_commands += 1
        joints = self._settings.joints
        self.arms.joints = np.array([(heard[j.joint] - j.offset) / j.scale for j in joints], np.float32)
        self.on_command(self.num_commands)
        self.tell()

    def tell(self) -> None:
        """Say what the sensors say; the joints in an order of their own."""
        self._told_s = now_s = max(self.now(), self._told_s + 1e-5)  # no two pictures at one time
        positions = {
            j.joint: float(q) * j.scale + j.offset for j, q in zip(self._settings.joints, self.arms.joints, strict=True)
        }
        state = self._ros.wire(self._ros.joints(dict(sorted(positions.items())) | {"lift": 1.0}, time_s=now_s))
        self.keep("/joint_states", state)
        self.robot.feel(state)
        if not self.blind:
            image = self._ros.image(self.arms.picture()[..., ::-1], time_s=now_s, encoding="bgr8", padding=8)
            self.keep("/camera_top/image_raw", self._ros.wire(image))
            self.robot.see("top", self._ros.wire(image))


def command_messages(ros, settings: BridgeSettings, positions) -> Iterator[tuple[Any, Any]]:
    for group in settings.commands:
        if group.message == "trajectory":
            blanks = (ros.blank(f"trajectory_msgs/msg/{kind}") for kind in ("JointTrajectory", "JointTrajectoryPoint"))
            yield group, write_trajectory(*blanks, group.joints, positions, settings.reach_s)
        else:
            yield group, write_array(ros.blank("std_msgs/msg/Float64MultiArray"), group.joints, positions)


class Bag:
    """A rosbag2 (MCAP) being written; every message a nanosecond after the one before, at least."""

    def __init__(self, ros, path: Path, clock: Clock):
        from rosbags.rosbag2 import StoragePlugin, Writer

        self._ros, self._clock, self._last_ns, self._connections = ros, clock, 0, {}
        self.writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)

    def keep(self, topic: str, message: Any) -> None:
        if topic not in self._connections:
            kind = message.__msgtype__
            self._connections[topic] = self.writer.add_connection(topic, kind, typestore=self._ros.store)
        self._last_ns = max(self._last_ns + 1, EPOCH_S * 10**9 + round(self._clock.now() * 1e9))
        data = self._ros.store.serialize_cdr(message, message.__msgtype__)
        self.writer.write(self._connections[topic], self._last_ns, data)


def read_bag(ros, path: Path) -> list[tuple[str, Any]]:
    """Topics and messages in the order in which they were said."""
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        return [(c.topic, ros.store.deserialize_cdr(data, c.msgtype)) for c, _, data in reader.messages()]
