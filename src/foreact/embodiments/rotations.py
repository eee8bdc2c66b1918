"""Rotations between a robot's own format and the universal quaternion."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from foreact.errors import InputError

RotationFormat = Literal["quaternion_xyzw", "quaternion_wxyz", "axis_angle", "euler_xyz"]
"""`axis_angle`: axis times angle. `euler_xyz`: roll, pitch, yaw about the fixed x, y, z axes in turn."""


def num_numbers(rotation_format: RotationFormat) -> int:
    """How many numbers the format uses."""
    return 4 if rotation_format.startswith("quaternion") else 3


def identity(rotation_format: RotationFormat) -> list[float]:
    """The rotation that does nothing."""
    return {"quaternion_xyzw": [0.0, 0.0, 0.0, 1.0], "quaternion_wxyz": [1.0, 0.0, 0.0, 0.0]}.get(
        rotation_format, [0.0, 0.0, 0.0]
    )


def decode_rotation(numbers: np.ndarray, rotation_format: RotationFormat, what: str) -> Rotation:
    """Rotations from [time, 3 or 4] numbers (radians); quaternions of any length but zero are normalised.

    Raises:
        InputError: A quaternion of length zero.
    """
    if rotation_format == "axis_angle":
        return Rotation.from_rotvec(numbers)
    if rotation_format == "euler_xyz":
        return Rotation.from_euler("xyz", numbers)
    lengths = np.linalg.norm(numbers, axis=-1)
    if len(lengths) and lengths.min() < 1e-9:
        step = int(lengths.argmin())
        raise InputError(f"quaternion of {what} at step {step}", got=numbers[step], allowed="length above 0")
    return Rotation.from_quat(np.roll(numbers, -1, axis=-1) if rotation_format == "quaternion_wxyz" else numbers)


def encode_rotation(rotation: Rotation, rotation_format: RotationFormat) -> Float[np.ndarray, "time numbers"]:
    """The inverse of `decode_rotation`, up to a quaternion's sign and turns by 2 pi."""
    if rotation_format == "axis_angle":
        return rotation.as_rotvec()
    if rotation_format == "euler_xyz":
        return rotation.as_euler("xyz")
    quaternion = rotation.as_quat()
    return np.roll(quaternion, 1, axis=-1) if rotation_format == "quaternion_wxyz" else quaternion


def nearest_sign(quaternions: np.ndarray, reference: tuple[float, ...]) -> Float[np.ndarray, "time 4"]:
    """Of q and -q, the same rotation, the one nearer to the reference quaternion; q itself if both are as near."""
    return np.where(quaternions @ np.asarray(reference) < 0, -1.0, 1.0)[:, None] * quaternions
