"""How errors grow: curves and slopes with their intervals."""

from itertools import combinations
from typing import Any

import numpy as np
from episodes import LATENCIES_MS

from foreact.evaluation.statistics import bootstrap_interval, mean_of, ratio_of_means, slope_parts
from foreact.policy.controllers import ControlMode

FRAME_S = 0.32
"""Seconds of a latent frame."""
GROWTH = ("grows", "falls", "no growth shown")
"""Of a slope whose interval is above zero, below, or holds it."""
FASTER = ("grows faster", "grows more slowly", "no difference shown")
LARGER = ("larger", "smaller", "no difference shown")
Kept = dict[str, Any]
"""An episode as `episodes.run_one` wrote it."""


def analyse(episodes: dict[ControlMode, list[Kept]]) -> dict[str, Any]:
    """Return what is told of one task; `episodes` are by mode, of the same seeds in the same order.

    "Until solved" is for all modes the time until closed loop had solved the task on that seed: demonstrations end
    there, so what comes after is unlike anything the policy was trained on.
    """
    until = [_solved_frame(kept) for kept in episodes["synchronous"]]
    modes = {
        mode: {
            "latency_ms": LATENCIES_MS[mode],
            "episodes": len(kept),
            "solved": sum(one["solved_frame"] is not None for one in kept),
            "fallbacks": sum(one["fallbacks"] for one in kept),
            "late_chunks": sum(one["late_chunks"] for one in kept),
            "curve": curve(kept),
            "error_until_solved": _level(kept, until),
            "relative_until_solved": _relative(kept, until),
            "growth_until_solved_per_s": _slope(kept, until),
            "growth_per_s": _slope(kept, None),
        }
        for mode, kept in episodes.items()
    }
    return {
        "solved_after_s": FRAME_S * float(np.median(until)),
        "modes": modes,
        "differences": {
            f"{first} less {second}": _differences(episodes[first], episodes[second], until)
            for first, second in combinations(episodes, 2)
        },
    }


def curve(kept: list[Kept]) -> list[dict[str, Any]]:
    """Return per latent frame the mean error over seeds, alone and over that of the last seen frame held still."""
    frames = sorted(set.intersection(*({row["frame"] for row in one["frames"]} for one in kept)))
    by_frame = [{row["frame"]: row for row in one["frames"]} for one in kept]
    points = []
    for frame in frames:
        imagined, held = (np.array([rows[frame][what] for rows in by_frame]) for what in ("imagined", "held"))
        points.append(
            {
                "time_s": FRAME_S * frame,
                "error": float(imagined.mean()),
                "error_ci95": _interval(mean_of, imagined),
                "relative": float(ratio_of_means(imagined, held)),
                "relative_ci95": _interval(ratio_of_means, imagined, held),
            }
        )
    return points


def _level(kept: list[Kept], until: list[int]) -> dict[str, Any]:
    errors = _mean_errors(kept, until)
    return {"value": float(errors.mean()), "ci95": _interval(mean_of, errors)}


def _relative(kept: list[Kept], until: list[int]) -> dict[str, Any]:
    sums = [np.array([rows.sum() for rows in _column(kept, until, what)]) for what in ("imagined", "held")]
    return {"value": float(ratio_of_means(*sums)), "ci95": _interval(ratio_of_means, *sums)}


def _slope(kept: list[Kept], until: list[int] | None) -> dict[str, Any]:
    parts = _parts(kept, until)
    return _told(float(ratio_of_means(*parts)), _interval(ratio_of_means, *parts), GROWTH)


def _differences(first: list[Kept], second: list[Kept], until: list[int]) -> dict[str, Any]:
    """Return how two modes differ on the same seeds; what the phases of a task do to the error is in both."""

    def slopes(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
        return ratio_of_means(a, b) - ratio_of_means(c, d)

    details = {}
    for name, end in (("growth_until_solved_per_s", until), ("growth_per_s", None)):
        parts = (*_parts(first, end), *_parts(second, end))
        details[name] = _told(float(slopes(*parts)), _interval(slopes, *parts), FASTER)
    less = _mean_errors(first, until) - _mean_errors(second, until)
    return details | {"error_until_solved": _told(float(less.mean()), _interval(mean_of, less), LARGER)}


def _told(value: float, interval: tuple[float, float] | None, words: tuple[str, str, str]) -> dict[str, Any]:
    more, less, neither = words
    details = "not known" if interval is None else more if interval[0] > 0 else less if interval[1] < 0 else neither
    return {"value": value, "ci95": interval, "told": details}


def _parts(kept: list[Kept], until: list[int] | None) -> tuple[np.ndarray, np.ndarray]:
    times = [FRAME_S * frames for frames in _column(kept, until, "frame")]
    return slope_parts(times, _column(kept, until, "imagined"))


def _mean_errors(kept: list[Kept], until: list[int]) -> np.ndarray:
    return np.array([errors.mean() for errors in _column(kept, until, "imagined")])


def _column(kept: list[Kept], until: list[int] | None, what: str) -> list[np.ndarray]:
    """Return of each episode that number per latent frame, up to one of each."""
    ends = [None] * len(kept) if until is None else until
    return [
        np.array([row[what] for row in one["frames"] if end is None or row["frame"] <= end], float)
        for one, end in zip(kept, ends, strict=True)
    ]


def _solved_frame(one: Kept) -> int:
    """Return the latent frame in which the task was solved; the last one if it was not."""
    return one["frames"][-1]["frame"] if one["solved_frame"] is None else one["solved_frame"]


def _interval(statistic, *columns: np.ndarray) -> tuple[float, float] | None:
    return bootstrap_interval(statistic, *columns) if len(columns[0]) > 1 else None
