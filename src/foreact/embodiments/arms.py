"""One arm of a robot: which entries of the action vector it owns and which channels they become."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from foreact.embodiments.actions import END_EFFECTOR, JOINTS, Side
from foreact.embodiments.grippers import Gripper
from foreact.embodiments.rotations import (
    RotationFormat,
    decode_rotation,
    encode_rotation,
    identity,
    nearest_sign,
    num_numbers,
)
from foreact.errors import ConfigurationError
from foreact.settings import from_plain


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm: its side decides the channels, its space and representation what the numbers mean."""

    side: Side
    """Which half of the universal channels. A lone arm is `left`, as in the published single-arm weights."""
    space: Literal["joint", "end_effector"]
    """Joint angles, or position and rotation of the hand."""
    representation: Literal["absolute", "delta", "relative"]
    """What the model sees. `absolute`: the robot's targets. `delta`: the robot's own commands are increments.
    `relative`: the robot's targets are absolute, the model's are relative to the episode's first pose."""
    entries: tuple[int, ...]
    """Indices in the action vector: the joints from base to hand; or x, y, z and the rotation's numbers; or, for a hand
    that never turns, x, y, z alone (x, y for a robot that moves in a plane)."""
    rotation: RotationFormat | None = None
    """The robot's own rotation format, in end-effector space; None in joint space, and for a hand that never turns."""
    position_unit_m: float = 1.0
    """Metres per unit of the robot's position entries; end-effector space only."""
    rotation_unit_rad: float = 1.0
    """Radians per unit of the robot's axis-angle or Euler entries, or of its joints."""
    reference_quaternion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    """Of q and -q the universal space holds the one nearer to this (x, y, z, w). For absolute poses give the
    hand's usual orientation, so that the quaternion never jumps on the way. All zeros: the sign that the robot's own
    quaternions give, as published weights were trained."""
    gripper: Gripper | None = None
    """The gripper at the end of this arm."""

    def __post_init__(self) -> None:
        what = f"{self.side} arm"
        if self.space == "joint" and not 1 <= len(self.entries) <= 7:
            raise ConfigurationError(f"{what}: number of joints", got=len(self.entries), allowed="1 to 7")
        if self.space == "joint" and self.rotation is not None:
            raise ConfigurationError(f"{what}: rotation format", got=self.rotation, allowed="none in joint space")
        if self.space == "end_effector" and self.rotation is None and len(self.entries) not in (2, 3):
            allowed = "2 or 3 without a rotation: x, y or x, y, z"
            raise ConfigurationError(f"{what}: number of entries", got=len(self.entries), allowed=allowed)
        if self.rotation is not None and len(self.entries) != 3 + num_numbers(self.rotation):
            allowed = f"3 + {num_numbers(self.rotation)} for {self.rotation}"
            raise ConfigurationError(f"{what}: number of entries", got=len(self.entries), allowed=allowed)
        units = (self.position_unit_m, self.rotation_unit_rad)
        if not all(np.isfinite(unit) and unit > 0 for unit in units):
            raise ConfigurationError(f"{what}: units", got=units, allowed="more than 0")
        if self.rotation is not None and num_numbers(self.rotation) == 4 and self.rotation_unit_rad != 1:
            raise ConfigurationError(
                f"{what}: rotation_unit_rad", got=self.rotation_unit_rad, allowed="1 for quaternions"
            )
        if not np.isfinite(self.reference_quaternion).all():
            got = self.reference_quaternion
            raise ConfigurationError(f"{what}: reference_quaternion", got=got, allowed="finite numbers")

    @property
    def num_joints(self) -> int:
        """Joints of the arm; 0 in end-effector space."""
        return len(self.entries) if self.space == "joint" else 0

    @property
    def channels(self) -> slice:
        """The universal channels this arm fills, the gripper's apart."""
        if self.space == "end_effector":
            start = END_EFFECTOR[self.side].start
            return slice(start, start + len(self.entries)) if self.rotation is None else END_EFFECTOR[self.side]
        start = JOINTS[self.side].start
        return slice(start, start + self.num_joints)

    @property
    def _plain_unit(self) -> float:
        """Radians per unit of a joint, or metres per unit of a position without rotation."""
        return self.rotation_unit_rad if self.space == "joint" else self.position_unit_m

    def to_channels(self, actions: np.ndarray, initial: np.ndarray | None) -> Float[np.ndarray, "time channels"]:
        """The values of `channels` for the robot's actions.

        Args:
            actions: [time, entries], the robot's whole action vectors.
            initial: [1, entries], the whole vector of the episode's first pose; used by `relative` only.

        Raises:
            InputError: A quaternion of length zero.
        """
        first = initial if self.representation == "relative" else None
        if self.rotation is None:
            origin = 0.0 if first is None else first[:, self.entries]
            return (actions[:, self.entries] - origin) * self._plain_unit
        position, rotation = self._pose(actions, self.rotation)
        if first is not None:
            # Positions subtract in the robot's base frame, rotations divide in the hand's: the published
            # clients add the first pose back in the same way.
            first_position, first_rotation = self._pose(first, self.rotation)
            position, rotation = position - first_position, first_rotation.inv() * rotation
        return np.concatenate([position, nearest_sign(rotation.as_quat(), self.reference_quaternion)], axis=1)

    def from_channels(self, values: np.ndarray, initial: np.ndarray | None) -> Float[np.ndarray, "time entries"]:
        """The values of `entries`, in their order: the inverse of `to_channels`.

        Quaternions need not have unit length.

        Raises:
            InputError: A quaternion of length zero.
        """
        first = initial if self.representation == "relative" else None
        if self.rotation is None:
            return values / self._plain_unit + (0.0 if first is None else first[:, self.entries])
        position = values[:, :3]
        rotation = decode_rotation(values[:, 3:], "quaternion_xyzw", f"the {self.side} arm")
        if first is not None:
            first_position, first_rotation = self._pose(first, self.rotation)
            position, rotation = position + first_position, first_rotation * rotation
        numbers = encode_rotation(rotation, self.rotation) / self.rotation_unit_rad
        return np.concatenate([position / self.position_unit_m, numbers], axis=1)

    def hold(self, state: np.ndarray) -> np.ndarray:
        """The values of `entries` that mean "stay where you are", given the whole state vector."""
        if self.representation != "delta":
            return state[list(self.entries)]
        still = np.zeros(len(self.entries))
        if self.rotation is not None:
            still[3:] = identity(self.rotation)
        return still

    def _pose(self, actions: np.ndarray, rotation: RotationFormat) -> tuple[np.ndarray, Rotation]:
        own = actions[:, self.entries]
        numbers = own[:, 3:] * self.rotation_unit_rad
        return own[:, :3] * self.position_unit_m, decode_rotation(numbers, rotation, f"the {self.side} arm")

    @classmethod
    def from_dict(cls, data: Any) -> "Arm":
        """From plain data; unknown keys are errors."""
        return from_plain(cls, data, "arm", gripper=lambda table: from_plain(Gripper, table, "gripper"))
