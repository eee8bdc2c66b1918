"""The universal action space: 30 channels that hold any robot with up to two arms.

Positions are in metres, angles in radians, quaternions (x, y, z, w) of unit length, gripper openings 1 open,
0 closed. Channels a robot does not have are zero and masked out.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float

from foreact.errors import InputError

Side = Literal["left", "right"]

NUM_CHANNELS = 30
END_EFFECTOR: dict[Side, slice] = {"left": slice(0, 7), "right": slice(7, 14)}
"""Position (x, y, z), then quaternion (x, y, z, w)."""
JOINTS: dict[Side, slice] = {"left": slice(14, 21), "right": slice(21, 28)}
"""Base to hand; an arm with fewer than seven joints uses the first slots."""
GRIPPER: dict[Side, int] = {"left": 28, "right": 29}

_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
CHANNEL_NAMES: tuple[str, ...] = (
    *(f"{side}_{axis}" for side in END_EFFECTOR for axis in _POSE),
    *(f"{side}_joint{n}" for side in JOINTS for n in range(7)),
    *(f"{side}_gripper" for side in GRIPPER),
)

KINDS: tuple[np.ndarray, ...] = (
    np.r_[0:3, 7:10],
    np.r_[3:7, 10:14],
    np.r_[14:28],
    np.r_[28:30],
)
"""Channels whose numbers can be compared: positions, rotations, joints, grippers."""


def check_finite(what: str, values: np.ndarray, names: tuple[str, ...]) -> Float[np.ndarray, "time names"]:
    """The values as float64 [time, names].

    Args:
        what: What the values are, for the message.
        values: The numbers to check.
        names: Name of each column.

    Raises:
        InputError: Not numbers [time, names], or not all finite (the message names the column).
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != len(names) or not np.issubdtype(array.dtype, np.number):
        allowed = f"numbers [time, {len(names)}]: {', '.join(names)}"
        raise InputError(what, got=f"{array.dtype} {list(array.shape)}", allowed=allowed)
    rows, columns = np.nonzero(~np.isfinite(array))
    if len(rows):
        place = f"{array[rows[0], columns[0]]} at step {rows[0]} of {names[columns[0]]!r}"
        raise InputError(what, got=place, allowed="finite numbers")
    return array.astype(np.float64)
