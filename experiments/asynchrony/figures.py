"""What the episodes of a cell say, alone and beside those of the synchronous controller on the same seeds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from cells import Cell

from foreact.evaluation.episodes import EpisodeResult
from foreact.evaluation.statistics import (
    bootstrap_interval,
    mcnemar_p,
    mean_of,
    paired_difference_interval,
    ratio_of_means,
    wilson_interval,
)
from foreact.simulation.tasks import get_task

Results = dict[int, EpisodeResult]
"""By seed."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One seed under both controllers."""

    this: EpisodeResult
    synchronous: EpisodeResult
    limit: int
    """The task's own time limit, in steps: a robot that never stands still gets through so many actions."""
    first: int
    """Steps that both robots waited for the first chunk."""


def measure(results: Results, action_hz: float) -> dict[str, Any]:
    """Return what is told of a cell."""
    episodes = list(results.values())
    times_s = np.array([episode.steps / action_hz for episode in episodes])
    solved = np.array([episode.success for episode in episodes])
    return {
        "episodes": len(episodes),
        "successes": int(solved.sum()),
        "success_rate": float(solved.mean()),
        "success_ci95": wilson_interval(int(solved.sum()), len(episodes)),
        "median_time_to_success_s": float(np.median(times_s[solved])) if solved.any() else None,
        "mean_time_s": float(times_s.mean()),
        "mean_time_ci95_s": _interval(mean_of, times_s),
        "idle_share": float(np.mean([episode.idle_share for episode in episodes])),
        "seam_jerk": _median([e.seam_jerk for e in episodes if e.seam_jerk is not None]),
        "disagreement": _mean([value for episode in episodes for value in episode.disagreement]),
        "imagination_error": _mean([value for episode in episodes for value in episode.imagination_error]),
        "chunks": sum(len(episode.executed) for episode in episodes),
        "late_chunks": sum(episode.late_chunks for episode in episodes),
        "fallbacks": sum(episode.fallbacks for episode in episodes),
    }


def pair(cell: Cell, results: Results, synchronous: Results, action_hz: float) -> list[Pair]:
    """Return both controllers' episodes seed by seed."""
    limit, first = get_task(cell.task).max_steps, round(cell.latency_ms * action_hz / 1e3)
    return [
        Pair(this=results[seed], synchronous=synchronous[seed], limit=limit, first=first)
        for seed in sorted(results.keys() & synchronous.keys())
    ]


def compare(pairs: list[Pair]) -> dict[str, Any]:
    """Return how a controller differs from the synchronous one, at the same latency."""
    solved = np.array([(pair.this.success, pair.synchronous.success) for pair in pairs], float).T
    steps = np.array([(pair.this.steps, pair.synchronous.steps) for pair in pairs], float).T
    moving = steps - np.array([pair.first for pair in pairs])
    both = solved.all(axis=0)
    frugal = np.array([pair.this.success and sum(pair.this.executed) <= pair.limit for pair in pairs], float)
    return _success_difference([(pair.this, pair.synchronous) for pair in pairs]) | {
        "success_ratio": _with_interval(*solved),
        "success_ratio_with_as_many_actions": _with_interval(frugal, solved[1]),
        "both_succeed": int(both.sum()),
        "time_ratio_where_both_succeed": _with_interval(*steps[:, both]),
        "time_ratio_from_first_action": _with_interval(*moving[:, both]),
        "time_ratio_of_all": _with_interval(*steps),
    }


def same_seeds(these: Results, others: Results) -> list[tuple[EpisodeResult, EpisodeResult]]:
    """Return two controllers' episodes seed by seed."""
    return [(these[seed], others[seed]) for seed in sorted(these.keys() & others.keys())]


def subtract(pairs: list[tuple[EpisodeResult, EpisodeResult]]) -> dict[str, Any]:
    """Return what one controller has more than another, on the same seeds."""
    errors = np.array([np.mean(this.imagination_error) - np.mean(other.imagination_error) for this, other in pairs])
    return _success_difference(pairs) | {
        "imagination_error_difference": float(errors.mean()),
        "imagination_error_difference_ci95": _interval(mean_of, errors),
    }


def _success_difference(pairs: list[tuple[EpisodeResult, EpisodeResult]]) -> dict[str, Any]:
    gained = sum(this.success and not other.success for this, other in pairs)
    lost = sum(other.success and not this.success for this, other in pairs)
    return {
        "episodes": len(pairs),
        "only_this_succeeds": gained,
        "only_other_succeeds": lost,
        "difference": (gained - lost) / len(pairs),
        "difference_ci95": paired_difference_interval(gained, lost, len(pairs)),
        "mcnemar_p": mcnemar_p(gained, lost),
    }


def judge(compared: dict[str, Any]) -> dict[str, Any]:
    """Return whether at least 90 % of the success is kept, in at most 60 % of the time."""
    return {
        "keeps 90 % of success": _verdict(compared["success_ratio"], 0.9, at_least=True),
        "keeps 90 % of success with as many actions": _verdict(
            compared["success_ratio_with_as_many_actions"], 0.9, at_least=True
        ),
        "takes at most 60 % of the time": _verdict(compared["time_ratio_where_both_succeed"], 0.6, at_least=False),
        "takes at most 60 % of the time from the first action on": _verdict(
            compared["time_ratio_from_first_action"], 0.6, at_least=False
        ),
    }


def _verdict(found: dict[str, Any], bound: float, *, at_least: bool) -> str:
    """Return yes or no as measured, and whether the whole interval says so."""
    if found["value"] is None or found["ci95"] is None:
        return "not known"
    sign = 1 if at_least else -1
    holds = sign * found["value"] >= sign * bound
    agrees = [(sign * end >= sign * bound) == holds for end in found["ci95"]]
    return ("yes" if holds else "no") + ("" if all(agrees) else ", but the interval reaches beyond")


def _with_interval(numerator: np.ndarray, denominator: np.ndarray) -> dict[str, Any]:
    """Return the ratio of two means over the same seeds with its bootstrap interval; None where there is none."""
    if not len(denominator) or not denominator.any():
        return {"value": None, "ci95": None}
    return {
        "value": float(ratio_of_means(numerator, denominator)),
        "ci95": _interval(ratio_of_means, numerator, denominator),
    }


def _interval(statistic, *columns: np.ndarray) -> tuple[float, float] | None:
    return bootstrap_interval(statistic, *columns) if len(columns[0]) > 1 else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
