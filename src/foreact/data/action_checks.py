"""Checks of actions and states: constant, clipped or wild entries, units, lag, and the way to the model and back."""

from collections.abc import Iterator, Sequence

import numpy as np

from foreact.data.findings import Finding
from foreact.embodiments import Embodiment

PI_RAD = np.pi
CLIPPED = 0.2
"""Share of rows at an entry's extreme from which it looks clipped; grippers have two such values and are left out."""
FAR = 10.0
"""Half ranges from the middle beyond which a number is worth a look."""
MOST_LAG = 10
"""Rows by which an action may come before the state that follows it."""
NAMED = 6
"""Names in one message."""


def check_channels(actions: np.ndarray, names: Sequence[str]) -> Iterator[Finding]:
    """Find entries that never change, look clipped, or jump.

    Args:
        actions: [rows, entries].
        names: Of the entries.
    """
    low, high = actions.min(axis=0), actions.max(axis=0)
    constant = [names[n] for n in np.flatnonzero(low == high).tolist()]
    if constant:
        yield Finding(
            severity="note",
            what=f"entries that never change: {_some(constant)}",
            hint="harmless: they stay as they are",
        )
    q01, q99 = np.quantile(actions, [0.01, 0.99], axis=0)
    half = (q99 - q01) / 2
    for n in np.flatnonzero(half > 0).tolist():
        distance = np.abs(actions[:, n] - (q01[n] + q99[n]) / 2) / half[n]
        if distance.max() > FAR:
            yield Finding(
                severity="warning",
                what=f"action {names[n]!r} has outliers in {(distance > FAR).sum()} rows",
                got=f"{actions[distance.argmax(), n]:.4g}",
                expected=f"usually {q01[n]:.4g} to {q99[n]:.4g}",
                hint="look at those rows: a few of them widen the range for all",
            )
        at_end = max(np.mean(actions[:, n] == low[n]), np.mean(actions[:, n] == high[n]))
        if at_end > CLIPPED and len(np.unique(actions[:, n])) > 10 and "gripper" not in names[n].lower():
            yield Finding(
                severity="warning",
                what=f"action {names[n]!r} looks clipped",
                got=f"{at_end:.0%} of the rows are at one end of {low[n]:.4g} to {high[n]:.4g}",
                hint="a limit of the leader arm or of the recorder cut it off",
            )
    yield from _check_quaternions(actions, names)


def _check_quaternions(actions: np.ndarray, names: Sequence[str]) -> Iterator[Finding]:
    places = {str(name).lower(): n for n, name in enumerate(names)}
    for prefix in {name[:-2] for name in places if name.endswith("qw")}:
        four = [places.get(prefix + part) for part in ("qx", "qy", "qz", "qw")]
        if None in four:
            continue
        values = actions[:, four]  # type: ignore[index]
        flips = (np.sum(values[1:] * values[:-1], axis=1) < 0).sum()
        if flips:
            yield Finding(
                severity="warning",
                what=f"quaternion {prefix or 'of the hand'!r} changes its sign {flips} times",
                hint="q and -q are one rotation: set reference_quaternion in the robot's file to its usual orientation",
            )


def check_action_and_state(
    actions: Sequence[np.ndarray], states: Sequence[np.ndarray], names: Sequence[str], fps: int | float
) -> Iterator[Finding]:
    """Find out how actions and the states that follow are related: lag, and units that differ.

    Args:
        actions: [rows, entries] of each episode.
        states: Likewise.
        names: Of the actions' entries.
        fps: Rows a second.
    """
    if actions[0].shape[1] != states[0].shape[1]:
        return
    every_action, every_state = np.concatenate(actions), np.concatenate(states)
    spans = np.ptp(every_action, axis=0), np.ptp(every_state, axis=0)
    both = (spans[0] > 0) & (spans[1] > 0)
    ratio = np.where(both, spans[0] / np.where(both, spans[1], 1), 1)
    for n in np.flatnonzero(both & ((ratio > 20) | (ratio < 1 / 20))).tolist():
        yield Finding(
            severity="warning",
            what=f"action and state of {names[n]!r} differ in scale",
            got=f"ranges {spans[0][n]:.4g} and {spans[1][n]:.4g}",
            hint="one in degrees and one in radians, or increments and positions? say so in the robot's file",
        )
    lags = [_lag(a[:, n], s[:, n]) for a, s in zip(actions, states, strict=True) for n in np.flatnonzero(both).tolist()]
    lags = [lag for lag in lags if lag is not None]
    if lags:
        lag = float(np.median(lags))
        yield Finding(
            severity="warning" if lag >= MOST_LAG else "note",
            what="the state follows the action",
            got=f"{lag:g} rows later, {lag / fps * 1e3:.0f} ms",
            hint="a long way: are rows and actions of the same moment?" if lag >= MOST_LAG else None,
        )


def _lag(action: np.ndarray, state: np.ndarray) -> int | None:
    """Return by how many rows the state resembles the action most; None if it never does."""
    errors = {}
    for lag in range(min(MOST_LAG + 1, len(action) - 2)):
        a, s = action[: len(action) - lag], state[lag:]
        if a.std() > 0 and s.std() > 0:
            errors[lag] = float(np.corrcoef(a, s)[0, 1])
    if not errors or max(errors.values()) < 0.9:
        return None
    return max(errors, key=lambda lag: errors[lag])


def check_mapping(robot: Embodiment, actions: np.ndarray, states: np.ndarray) -> Iterator[Finding]:
    """Find out whether a demonstration comes back exactly from the model's units, and whether it keeps the limits."""
    sizes = {
        "action": (actions.shape[1], robot.num_dofs),
        "observation.state": (states.shape[1], robot.num_state_entries),
    }
    for name, (got, expected) in sizes.items():
        if got != expected:
            yield Finding(
                severity="error", what=f"entries of {name}", got=str(got), expected=f"{expected}, as {robot.name} has"
            )
    if any(got != expected for got, expected in sizes.values()) or robot.channels:
        return
    hold = robot.hold_action(states[0])
    back = robot.from_universal(robot.to_universal(actions, hold), hold)
    error = float(np.abs(back - actions).max())
    scale = max(1.0, float(np.abs(actions).max()))
    yield Finding(
        severity="note" if error <= 1e-6 * scale else "warning",
        what="a demonstration through the action mapping and back",
        got=f"largest difference {error:.2g}",
        hint=None
        if error <= 1e-6 * scale
        else "rotations come back as another set of the same numbers, or a unit is wrong",
    )
    low, high = robot.limits
    for n in np.flatnonzero((actions < low).any(axis=0) | (actions > high).any(axis=0)).tolist():
        yield Finding(
            severity="warning",
            what=f"action {robot.dof_names[n]!r} leaves the robot's limits",
            got=f"{actions[:, n].min():.4g} to {actions[:, n].max():.4g}",
            expected=f"{low[n]:.4g} to {high[n]:.4g}",
            hint="correct the limits, or the units, in the robot's file: what is outside is cut off",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
