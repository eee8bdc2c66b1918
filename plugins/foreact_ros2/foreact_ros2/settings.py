"""What the node is told by ROS parameters, read strictly: a parameter that nobody knows is an error."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from foreact.control.limits import MotionLimits
from foreact.errors import ConfigurationError
from foreact.settings import from_plain


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where a camera of the policy is heard."""

    name: str
    """As the policy has it; the key in the parameters."""
    topic: str
    """A sensor_msgs/Image, or sensor_msgs/CompressedImage if `compressed`."""
    compressed: bool = False
    """Whether pictures come as JPEG or PNG."""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """One entry of the policy's actions, which is an absolute position, and the joint it moves."""

    action: str
    """As the policy has it; the key in the parameters."""
    joint: str
    """As sensor_msgs/JointState and the controllers have it."""
    low: float
    """Lowest position it may be sent to, in the policy's unit, as are all that follow."""
    high: float
    """Highest position it may be sent to."""
    velocity: float
    """Most change of its command per second."""
    acceleration: float
    """Most change of that velocity per second."""
    following: float = float("inf")
    """How far the joint may be from its command before the robot is stopped."""
    scale: float = 1.0
    """The robot's units in one of the policy's: position = scale * action + offset."""
    offset: float = 0.0
    """Position where the action is 0, in the robot's unit."""

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in ("scale", "offset")}
        if not all(map(isfinite, numbers.values())) or not self.scale:
            raise ConfigurationError(f"scale and offset of {self.action!r}", got=numbers, allowed="finite; no scale 0")
        if not self.following > 0:
            raise ConfigurationError(f"following of {self.action!r}", got=self.following, allowed="more than 0")


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Where the commands of some joints go."""

    name: str
    """Any; the key in the parameters."""
    topic: str
    """Of the controller."""
    joints: tuple[str, ...]
    """Joint names; of an array, in the order of the controller's own parameter."""
    message: Literal["trajectory", "array"] = "trajectory"
    """trajectory_msgs/JointTrajectory, which names its joints; or std_msgs/Float64MultiArray, which cannot."""


@dataclass(frozen=True, kw_only=True)
class BridgeSettings:
    """The whole bridge."""

    cameras: tuple[Camera, ...]
    """Every camera of the policy."""
    joints: tuple[Joint, ...]
    """Every entry of its actions."""
    commands: tuple[Commands, ...]
    """Together every joint once."""
    joint_states: tuple[str, ...] = ("/joint_states",)
    """Topics; a message may hold some of the joints, or others besides."""
    server: str = "127.0.0.1:8000"
    """As `foreact.control.client.Client` takes it."""
    token_file: Path | None = None
    """Holds the server's token; a parameter would show it to everyone on the network."""
    certificate: Path | None = None
    """The server's (PEM), if this machine does not trust it anyway."""
    mode: str = "grounded"
    """How the robot is controlled: one of the server's modes."""
    seed: int = 0
    """Of the policy's noise."""
    instruction: str = ""
    """The first; others come by topic."""
    autostart: bool = False
    """Whether the first run begins by itself."""
    image_age_s: float = 0.2
    """Seconds since a picture was taken, after which the robot is stopped."""
    joint_age_s: float = 0.1
    """Seconds since a joint was measured, after which the robot is stopped."""
    slop_s: float = 0.03
    """Seconds by which pictures taken together may differ."""
    future_s: float = 0.05
    """Seconds by which a time stamp may be ahead of this machine's clock."""
    wait_s: float = 10.0
    """Seconds for which a run waits until the server is there, and then until everything is heard."""
    watchdog_s: float = 2.0
    """Seconds without an answer of the server, after which the robot is stopped."""
    emergency_age_s: float = 0.0
    """Seconds without a word from the emergency stop, after which the robot is stopped; 0: it need not be heard."""
    run_s: float = 0.0
    """Seconds after which a run is over; 0: never."""
    reach_s: float = 0.04
    """Seconds in which a trajectory's point is to be reached: two ticks at 50 Hz, so that none is waited for."""

    def __post_init__(self) -> None:
        for name in ("image_age_s", "joint_age_s", "slop_s", "future_s", "wait_s", "watchdog_s", "reach_s"):
            self._check(name, 0 < getattr(self, name) < float("inf"), "more than 0 s")
        for name in ("emergency_age_s", "run_s"):
            self._check(name, 0 <= getattr(self, name) < float("inf"), "0 or more seconds")
        self._check("cameras", bool(self.cameras), "one or more")
        self._check("joint_states", bool(self.joint_states), "one or more topics")
        told = sorted(joint for group in self.commands for joint in group.joints)
        known = sorted(joint.joint for joint in self.joints)
        if not known or told != known or len(set(known)) != len(known):
            raise ConfigurationError("joints of all commands together", got=told, allowed=f"each of {known} once")
        self.limits([joint.action for joint in self.joints])  # raises what is wrong with them

    def limits(self, actions: list[str]) -> MotionLimits:
        """Return the limits of the named actions, in that order."""
        joints = {joint.action: joint for joint in self.joints}
        names = ("low", "high", "velocity", "acceleration")
        return MotionLimits(**{name: tuple(getattr(joints[a], name) for a in actions) for name in names})

    def _check(self, name: str, right: bool, allowed: str) -> None:
        if not right:
            raise ConfigurationError(f"parameter {name}", got=getattr(self, name), allowed=allowed)


def read_parameters(parameters: Mapping[str, Any]) -> BridgeSettings:
    """Return the settings in ROS parameters: dotted names to values. ROS's own parameters are passed over.

    Raises:
        ConfigurationError: One is unknown, missing, or of another type or value than can be.
    """
    nested: dict[str, Any] = {}
    for name, value in parameters.items():
        if not name.startswith(("use_sim_time", "qos_overrides.", "start_type_description_service")):
            _put(nested, name, list(value) if isinstance(value, (array, tuple)) else value)
    return from_plain(
        BridgeSettings,
        nested,
        "the bridge",
        cameras=lambda table: _named(Camera, table, "camera", "name"),
        joints=lambda table: _named(Joint, table, "joint", "action"),
        commands=lambda table: _named(Commands, table, "commands", "name"),
        token_file=lambda path: Path(path) if path else None,
        certificate=lambda path: Path(path) if path else None,
    )


def _put(nested: dict[str, Any], name: str, value: Any) -> None:
    *tables, last = name.split(".")
    for table in tables:
        nested = nested.setdefault(table, {})
        if not isinstance(nested, dict):
            break
    if not isinstance(nested, dict) or last in nested:
        raise ConfigurationError(f"parameter {name}", got="a value and a table of one name", allowed="one of them")
    nested[last] = value


def _named(kind: type, table: Any, what: str, key: str) -> tuple[Any, ...]:
    if not isinstance(table, Mapping):
        raise ConfigurationError(f"parameter of {what}", got=repr(table), allowed="a table of names")
    for name, values in table.items():
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"parameter of {what} {name!r}", got=repr(values), allowed="a table")
    return tuple(from_plain(kind, {key: name} | dict(values), f"{what} {name!r}") for name, values in table.items())
