"""Checks of one episode's rows. Each returns what it found, or nothing."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from foreact.data.findings import Finding

RATE_TOLERANCE = 0.05
"""How far the usual step from row to row may be from the announced one, as a share of it."""


def check_row_rate(where: str, times_s: Float[np.ndarray, " rows"], fps: int | float) -> Finding | None:
    """Find rows that are not as far apart as the dataset's fps says. Single gaps do not count."""
    if len(times_s) < 2:
        return None
    return check_rate(where, "timestamps of the rows", float(np.median(np.diff(times_s))), fps)


def check_rate(where: str, what: str, step_s: float, fps: int | float) -> Finding | None:
    """Find a time from one row or frame to the next that is not the one announced."""
    if abs(step_s * fps - 1) <= RATE_TOLERANCE:
        return None
    own = f"{1 / step_s:.4g} Hz" if step_s > 0 else "no time passes from row to row"
    return Finding(
        severity="error",
        what=what,
        where=where,
        got=own,
        expected=f"{fps:g} Hz, the fps in meta/info.json",
        hint="one of the two is wrong: correct fps, or record the dataset again",
    )


def check_row_numbers(where: str, frame_index: Int[np.ndarray, " rows"]) -> Finding | None:
    """Find rows that are there twice; the numbers are sorted."""
    twice = np.flatnonzero(np.diff(frame_index) == 0)
    if not len(twice):
        return None
    return Finding(
        severity="error",
        what="frame_index",
        where=where,
        got=f"number {frame_index[twice[0]]} twice",
        expected="every number once",
        hint="the same rows were written twice: leave the episode out or record it again",
    )


def check_finite(where: str, name: str, values: Shaped[np.ndarray, "rows entries"]) -> Finding | None:
    """Find the first number that is not finite."""
    if np.isfinite(values).all():
        return None
    row, entry = np.argwhere(~np.isfinite(values))[0]
    return Finding(
        severity="error",
        what=f"column {name!r}, row {row}, entry {entry}",
        where=where,
        got=str(values[row, entry]),
        expected="finite numbers",
        hint="leave the episode out or record it again",
    )
