"""How smoothly one chunk takes over from another."""

import numpy as np
from jaxtyping import Float

from foreact.control.report import DriveReport


def commands_by_tick(report: DriveReport) -> Float[np.ndarray, "ticks dofs"]:
    """Return the command in force at every tick of the clock from the first action on: held ones are repeated."""
    ticks = report.executed_wall_ticks
    if not len(ticks):
        return report.executed.reshape(0, report.executed.shape[-1])
    held = np.searchsorted(ticks, np.arange(ticks[0], ticks[-1] + 1), side="right") - 1
    return report.executed[held]


def seam_jerk(report: DriveReport, seams: list[int], action_hz: float) -> float | None:
    """Return the root mean square of the commands' third differences that cross a seam, per second cubed.

    Args:
        report: Of an episode.
        seams: Policy ticks at which a new chunk's first action is.
        action_hz: Commands per second.
    """
    commands, ticks = commands_by_tick(report), report.executed_wall_ticks
    jerk = np.diff(commands, n=3, axis=0) * action_hz**3
    crossing = []
    for seam in seams:
        if seam < len(ticks):
            place = int(ticks[seam] - ticks[0])  # of the new chunk's first command among all
            crossing.extend(jerk[max(0, place - 3) : place + 1])
    return float(np.sqrt(np.mean(np.square(crossing)))) if crossing else None
