"""The robot's state that imagining begins with: given, from a file, or typical."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from foreact.embodiments import ActionCodec, Gripper
from foreact.embodiments.actions import NUM_CHANNELS
from foreact.embodiments.rotations import identity
from foreact.errors import InputError, UnknownNameError

STATE_FILES = (".csv", ".json")


def read_state(given: Sequence[str], names: Sequence[str]) -> Float[np.ndarray, " state"]:
    """Return a state, float32, the robot's own units.

    Args:
        given: Numbers in the order of `names`; or one file: JSON (a list, or a table of names and numbers) or CSV (its
            first row of numbers, under a row of names or not).
        names: What the state consists of.

    Raises:
        InputError: No such file, none of these formats, too few or too many numbers, or some that are not finite.
        UnknownNameError: The state has no entry of that name.
    """
    what, found = _find(given)
    values = _in_order(what, found, names) if isinstance(found, Mapping) else found
    try:
        state = np.array([float(value) for value in values], dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(what, got=error, allowed=f"numbers, or one file {' or '.join(STATE_FILES)}") from error
    if len(state) != len(names):
        raise InputError(what, got=f"{len(state)} numbers", allowed=f"{len(names)}: {', '.join(names)}")
    if wrong := [name for name, value in zip(names, state, strict=True) if not np.isfinite(value)]:
        raise InputError(
            f"{what}: {', '.join(wrong)}", got=state[list(names).index(wrong[0])], allowed="finite numbers"
        )
    return state


def typical_state(codec: ActionCodec) -> Float[np.ndarray, " state"]:
    """Return the middle of what a policy was trained on, float32: where the model's own numbers are 0.

    An arm that acts relative to its first pose stands at the origin; entries that no action speaks of are 0.
    """
    robot = codec.embodiment
    universal, origin = codec.normalizer.denormalize(np.zeros((1, NUM_CHANNELS))), np.zeros(robot.num_dofs)
    for arm in robot.arms:
        if arm.rotation is not None:
            origin[list(arm.entries[3:])] = identity(arm.rotation)
            quaternion = universal[0, arm.channels][3:]  # a view
            if np.linalg.norm(quaternion) < 1e-6:  # rotations all around have no middle
                usual = arm.reference_quaternion
                quaternion[:] = usual if any(usual) else identity("quaternion_xyzw")
    action = robot.from_universal(universal, origin)[0]
    state = np.zeros(robot.num_state_entries, np.float32)
    if robot.num_state_entries == robot.num_dofs:
        state[:] = action
    for arm in robot.arms:
        if arm.representation != "delta":
            state[list(arm.entries)] = (origin if arm.representation == "relative" else action)[list(arm.entries)]
        if arm.gripper is not None:
            state[arm.gripper.state_index] = _state_of(arm.gripper, action)
    return state


def _state_of(gripper: Gripper, action: np.ndarray) -> float:
    opened = gripper.open if gripper.state_open is None else gripper.state_open
    closed = gripper.closed if gripper.state_closed is None else gripper.state_closed
    return closed + float(gripper.opening(action[None])[0]) * (opened - closed)


def _find(given: Sequence[str]) -> tuple[str, Sequence[Any] | Mapping[str, Any]]:
    """Return what to call the numbers in an error, and the numbers."""
    path = Path(given[0]) if len(given) == 1 else Path()
    if path.suffix.lower() not in STATE_FILES:
        return "state", [number for word in given for number in word.split(",")]
    what = f"state in {path}"
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix.lower() == ".json" else _read_table(text)
    except (OSError, ValueError) as error:
        raise InputError(what, got=error, cure="check the file") from error
    if not isinstance(found, list | dict):
        raise InputError(what, got=type(found).__name__, allowed="a list, or a table of names and numbers")
    return what, found


def _read_table(text: str) -> Sequence[str] | Mapping[str, str]:
    """Return the first row of numbers of a CSV file; by name, if names are above it."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    if len(rows) > 1 and not _is_number(rows[0][0]):
        return dict(zip(rows[0], rows[1], strict=True))
    return rows[0] if rows else []


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _in_order(what: str, found: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    for name in found:
        if name not in names:
            raise UnknownNameError(f"entry of the {what}", name, names)
    if missing := [name for name in names if name not in found]:
        raise InputError(what, got=f"none for {', '.join(missing)}", allowed=f"a number for each: {', '.join(names)}")
    return [found[name] for name in names]
