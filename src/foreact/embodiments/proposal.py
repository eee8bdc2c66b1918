"""A robot's file proposed from what a dataset says: names, statistics, cameras and rate. People check it."""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from foreact.embodiments.actions import NUM_CHANNELS
from foreact.embodiments.embodiment import Embodiment
from foreact.errors import ConfigurationError

CAMERA_HZ = 12.5
"""Camera frames per second that are aimed at: a latent frame is then about a third of a second."""
FULL_TURN_RAD = 2 * math.pi
BIMANUAL_TYPES = ("aloha", "bi_", "bimanual", "trossen_ai_stationary", "agilex", "mobile_aloha")
"""Beginnings of robot types that have two arms, for datasets whose entries have no names."""
GRIPPER_WORDS = ("gripper", "finger", "jaw", "claw", "grip")
ROTATION_NAMES = {
    "quaternion_xyzw": ("qx", "qy", "qz", "qw"),
    "quaternion_wxyz": ("qw", "qx", "qy", "qz"),
    "euler_xyz": ("roll", "pitch", "yaw"),
    "axis_angle": ("rx", "ry", "rz"),
}
OTHER_NAMES = {
    "rot_x": "rx",
    "rot_y": "ry",
    "rot_z": "rz",
    "rotation_x": "rx",
    "rotation_y": "ry",
    "rotation_z": "rz",
    "axis_angle1": "rx",
    "axis_angle2": "ry",
    "axis_angle3": "rz",
    "wx": "rx",
    "wy": "ry",
    "wz": "rz",
    "pos_x": "x",
    "pos_y": "y",
    "pos_z": "z",
    "position_x": "x",
    "position_y": "y",
    "position_z": "z",
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a dataset says of a robot."""

    robot_type: str
    """Its name there; may be empty."""
    fps: float
    """Rows a second."""
    action_names: tuple[str, ...]
    """Of the action's entries; made up if the dataset has none."""
    state_names: tuple[str, ...]
    """Of the state's entries."""
    cameras: tuple[str, ...]
    """Without the prefix of their keys."""
    actions: Float[np.ndarray, "rows dofs"]
    """Recorded actions, of some episodes one after the other."""
    states: Float[np.ndarray, "rows entries"]
    """The states of the same rows."""
    first_rows: tuple[int, ...] = (0,)
    """Where an episode begins: no motion leads there from the row before."""


def entry_names(feature: Mapping[str, Any], stem: str) -> tuple[str, ...]:
    """Return the names of a column's entries, however the dataset nests them; numbered ones if it has none."""
    size = int(np.prod(feature["shape"]))
    flat = _flatten(feature.get("names"))
    if len(flat) != size or len(set(flat)) < size:
        return tuple(f"{stem}_{n}" for n in range(size))
    return tuple(flat)


def _flatten(names: Any) -> list[str]:
    """Return names that are a list, a table of lists, or the keys of a table."""
    if isinstance(names, Mapping):
        if all(isinstance(value, (list, tuple, Mapping)) for value in names.values()):
            return [name for value in names.values() for name in _flatten(value)]
        return list(map(str, names))
    return list(map(str, names)) if isinstance(names, (list, tuple)) else []


def propose(recorded: Recorded, *, height: int = 128, width: int = 128) -> tuple[Embodiment, list[str]]:
    """Return a robot that fits what was recorded, and what is to be checked about it, in words.

    Args:
        recorded: What the dataset says.
        height: Of a camera's picture to the policy, pixels.
        width: Likewise.

    Raises:
        ConfigurationError: The robot has more entries than there are channels.
    """
    names, notes = recorded.action_names, list[str]()
    if len(names) > NUM_CHANNELS:
        raise ConfigurationError(
            "entries of the action", got=len(names), allowed=f"{NUM_CHANNELS} or fewer", cure="record fewer entries"
        )
    sides = _sides(recorded, notes)
    arms = [_arm(side, entries, recorded, notes) for side, entries in sides.items()]
    plain: dict[str, Any] = {
        "name": re.sub(r"\W+", "_", recorded.robot_type).strip("_").lower() or "my_robot",
        "description": f"Proposed from a dataset of {recorded.robot_type or 'a robot'} at {recorded.fps:g} Hz.",
        "dofs": [_dof(name, n, recorded) for n, name in enumerate(names)],
        "layout": _layout(recorded.cameras, height, width, notes),
        "timing": {"action_hz": float(recorded.fps), "camera_stride": max(1, round(recorded.fps / CAMERA_HZ))},
    }
    if recorded.state_names and _bare(recorded.state_names) != _bare(names):
        plain["state_names"] = list(recorded.state_names)
    for arm in arms:
        if arm is not None and arm["representation"] == "absolute":
            for entry in [*arm["entries"], *([arm["gripper"]["entry"]] if arm.get("gripper") else [])]:
                plain["dofs"][entry] |= _speeds(entry, recorded)
        # Only what was recognised is said: an arm in radians may be one in metres that moves little.
        if arm is not None and arm.get("rotation_unit_rad") == math.pi / 180:
            for entry in arm["entries"]:
                plain["dofs"][entry]["unit"] = "deg"
    if all(arm is not None for arm in arms):
        try:
            return Embodiment.from_dict(plain | {"arms": arms}), notes
        except ConfigurationError as error:
            notes.append(f"no arm fits ({error}): the numbers are taken as they are")
    else:
        notes.append("an arm with more than seven joints has no channels of its own: the numbers are taken as they are")
    notes.append("raw numbers have no action that means standing still: describe the arms before training")
    return Embodiment.from_dict(plain | {"channels": list(range(len(names)))}), notes


def _bare(names: Sequence[str]) -> list[str]:
    return [name.lower().removeprefix("main_").removesuffix(".pos") for name in names]


def _sides(recorded: Recorded, notes: list[str]) -> dict[str, list[int]]:
    """Return which entries are of which arm."""
    names = [name.lower() for name in recorded.action_names]
    left = [n for n, name in enumerate(names) if re.search(r"(^|[^a-z])(left|l)([^a-z]|$)", name)]
    right = [n for n, name in enumerate(names) if re.search(r"(^|[^a-z])(right|r)([^a-z]|$)", name)]
    if left and right and len(left) + len(right) == len(names):
        return {"left": left, "right": right}
    if recorded.robot_type.lower().startswith(BIMANUAL_TYPES) and len(names) % 2 == 0 and len(names) >= 12:
        notes.append("no names tell the arms apart: the first half is taken for the left one")
        half = len(names) // 2
        return {"left": list(range(half)), "right": list(range(half, 2 * half))}
    return {"left": list(range(len(names)))}


def _arm(side: str, entries: list[int], recorded: Recorded, notes: list[str]) -> dict[str, Any] | None:
    """Return an arm's settings; None if its joints do not fit."""
    own = {n: _short(recorded.action_names[n], side) for n in entries}
    gripper = _gripper_entry(own, recorded)
    body = [n for n in entries if n != gripper]
    arm: dict[str, Any] = {"side": side, "representation": "absolute", "entries": body}
    pose = _pose(own, body)
    if pose is not None:
        arm |= {"space": "end_effector", "rotation": pose}
        is_delta = _moves_by_increments(recorded, body)
        arm["representation"] = "delta" if is_delta else "relative"
        notes.append(
            f"{side} arm: a pose, {pose}, "
            + ("in increments" if is_delta else "absolute, shown to the model relative to the first")
            + "; set position_unit_m and rotation_unit_rad if it is not in metres and radians"
        )
    elif len(body) > 7:
        return None
    else:
        arm["space"] = "joint"
        if np.abs(recorded.actions[:, body]).max(initial=0.0) > FULL_TURN_RAD:
            arm["rotation_unit_rad"] = math.pi / 180
            notes.append(f"{side} arm: joints go beyond a full turn of radians, so they are taken for degrees")
        if _moves_by_increments(recorded, body):
            arm["representation"] = "delta"
            notes.append(f"{side} arm: actions follow the change of the state, so they are taken for increments")
    if gripper is not None:
        arm["gripper"] = _gripper(gripper, recorded, side, notes)
    else:
        notes.append(f"{side} arm: no gripper is named")
    return arm


def _short(name: str, side: str) -> str:
    bare = _bare([name])[0]
    bare = re.sub(rf"(^|[^a-z]){side}([^a-z]|$)", r"\1", bare).strip("_./ -")
    return OTHER_NAMES.get(bare, bare)


def _gripper_entry(own: Mapping[int, str], recorded: Recorded) -> int | None:
    named = [n for n, name in own.items() if any(word in name for word in GRIPPER_WORDS)]
    if named:
        return named[-1]
    # Without names, an arm of seven or eight entries ends in its gripper, as ALOHA, SO-101 and Franka have it.
    unnamed = all(re.fullmatch(r"action_\d+|motor_?\d+|joint_?\d+|\d+", name) for name in own.values())
    return max(own) if unnamed and len(own) in (6, 7, 8) else None


def _pose(own: Mapping[int, str], body: Sequence[int]) -> str | None:
    """Return the rotation's format if the entries are x, y, z and a rotation, in that order."""
    names = tuple(own[n] for n in body)
    if names[:3] != ("x", "y", "z"):
        return None
    return next((form for form, rotation in ROTATION_NAMES.items() if names[3:] == rotation), None)


def _moves_by_increments(recorded: Recorded, entries: Sequence[int]) -> bool:
    """Whether the actions go with the change of the state rather than with the state."""
    actions, states = recorded.actions[:, entries], recorded.states
    if max(entries, default=0) >= states.shape[1] or len(actions) < 3:
        return bool(np.abs(actions).max(initial=0.0) <= 1.0)  # no state to compare with: controllers take -1 to 1
    states = states[:, entries]
    change = np.diff(states, axis=0)
    with_state = np.median([_correlation(actions[:-1, n], states[1:, n]) for n in range(len(entries))])
    with_change = np.median([_correlation(actions[:-1, n], change[:, n]) for n in range(len(entries))])
    return bool(with_change > with_state)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _gripper(entry: int, recorded: Recorded, side: str, notes: list[str]) -> dict[str, Any]:
    """Return a gripper's convention by the range of its numbers."""
    low, high = (float(f(recorded.actions[:, entry])) for f in (np.min, np.max))
    gripper: dict[str, Any] = {"entry": entry}
    if low < -0.5 and low >= -1.01 and high <= 1.01:
        gripper |= {"open": -1.0, "closed": 1.0}
        notes.append(f"{side} gripper: -1 is taken for open and 1 for closed, as robosuite has it; turn round if not")
    else:
        top = 1.0 if 0.2 < high <= 1.2 else 100.0 if 20 < high <= 110 else round(high, 4)
        bottom = round(min(low, 0.0), 4) if low < 0.3 * top else round(low, 4)
        if top <= bottom:
            top = bottom + 1.0
        gripper |= {"open": top, "closed": bottom}
        notes.append(f"{side} gripper: {top:g} is taken for open and {bottom:g} for closed; turn round if not")
    name = _bare(recorded.action_names)[entry]
    states = _bare(recorded.state_names)
    if name in states:
        if states.index(name) != entry:
            gripper["state_entry"] = states.index(name)
    elif recorded.state_names and states != _bare(recorded.action_names):
        fingers = [n for n, s in enumerate(states) if any(word in s for word in GRIPPER_WORDS)]
        if fingers:
            values = recorded.states[:, fingers[0]]
            ends = {"state_closed": float(values.min()), "state_open": float(values.max())}
            gripper |= {"state_entry": fingers[0], **(ends if values.max() > values.min() else {})}
            notes.append(
                f"{side} gripper: its state is {recorded.state_names[fingers[0]]!r}, open where it is greatest"
            )
    return gripper


def _dof(name: str, entry: int, recorded: Recorded) -> dict[str, Any]:
    """Return an entry with what was recorded, widened by a twentieth, as its limits."""
    values = recorded.actions[:, entry]
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 0.05 * max(1.0, abs(high))
    return {"name": name, "low": round(low - margin, 4), "high": round(high + margin, 4)}


def _speeds(entry: int, recorded: Recorded) -> dict[str, float]:
    """Return the greatest velocity and acceleration that were recorded, and a fifth more; none of one that stood still.

    An acceleration is at least what reaches full speed in a tenth of a second: where a demonstration moved slowly, the
    limit would otherwise stop the robot from following the same path.
    """
    starts = sorted({*recorded.first_rows, len(recorded.actions)})
    episodes = [recorded.actions[start:stop, entry] for start, stop in itertools.pairwise(starts)]
    changes = [np.diff(episode) * recorded.fps for episode in episodes]
    speed = max((float(np.abs(change).max()) for change in changes if change.size), default=0.0)
    if speed == 0:
        return {}
    rises = [np.diff(change) * recorded.fps for change in changes]
    rise = max((float(np.abs(each).max()) for each in rises if each.size), default=0.0)
    return {"velocity": float(f"{1.2 * speed:.4g}"), "acceleration": float(f"{1.2 * max(rise, 10 * speed):.4g}")}


def _layout(cameras: Sequence[str], height: int, width: int, notes: list[str]) -> dict[str, Any]:
    """Return how the cameras share the picture: a head and two wrists as a T, others side by side."""
    if not cameras:
        raise ConfigurationError("cameras of the dataset", got="none", allowed="one or more")
    left = [c for c in cameras if "wrist" in c and "left" in c]
    right = [c for c in cameras if "wrist" in c and "right" in c]
    head = [c for c in cameras if c not in (*left, *right)]
    kind, order = "side_by_side", list(cameras)
    if len(left) == len(right) == len(head) == 1:
        kind, order = "t_shape", [*head, *left, *right]
    notes.append(
        f"pictures are {height} x {width} to the policy, whatever the camera's shape; cameras {', '.join(order)}"
    )
    return {"kind": kind, "cameras": order, "height": height, "width": width}


def to_toml(robot: Embodiment, notes: Sequence[str]) -> str:
    """Return a robot as a TOML file, what is to be checked about it on top."""
    plain = robot.to_dict()
    lines = ["# Proposed by `foreact embodiment`. Check:", *(f"# - {note}" for note in notes), ""]
    for key in ("name", "description"):
        lines.append(f"{key} = {_value(plain[key])}")
    lines += [
        "",
        "# Limits: ranges are what was recorded and a twentieth more, speeds a fifth more. The robot is kept so.",
    ]
    lines += ["dofs = [", *(f"    {_inline(dof)}," for dof in plain["dofs"]), "]"]
    for key in ("state_names", "channels"):
        if plain.get(key):
            lines.append(f"{key} = {_value(plain[key])}")
    for arm in plain["arms"]:
        usual = ("position_unit_m", "reference_quaternion") if arm["space"] == "joint" else ()
        lines += ["", "[[arms]]", *_table(arm, skip=("gripper", *usual))]
        if arm["gripper"] is not None:
            lines.append(f"gripper = {_inline(arm['gripper'])}")
    for name in ("layout", "timing"):
        lines += ["", f"[{name}]", *_table(plain[name])]
    return "\n".join(lines) + "\n"


def _table(plain: Mapping[str, Any], skip: Sequence[str] = ()) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in plain.items() if value is not None and key not in skip]


def _inline(plain: Mapping[str, Any]) -> str:
    details = ((key, value) for key, value in plain.items() if value not in (None, ""))
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in details) + " }"


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
