"""What was measured over episodes, with its uncertainty."""

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest, norm, sem, t

from foreact.errors import ConfigurationError

NUM_RESAMPLES = 10_000


def wilson_interval(successes: int, episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a success rate.

    Raises:
        ConfigurationError: No episodes, or more successes than episodes.
    """
    if episodes < 1 or not 0 <= successes <= episodes:
        raise ConfigurationError(
            "success count", got=f"{successes} of {episodes}", allowed="0 <= successes <= episodes"
        )
    interval = binomtest(successes, episodes).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def difference_interval(
    first_successes: int, first_episodes: int, second_successes: int, second_episodes: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the first success rate less the second, measured on episodes that have nothing in common.

    Raises:
        ConfigurationError: No episodes, or more successes than episodes.

    Source: Newcombe (1998), Interval estimation for the difference between independent proportions, method 10.
    """
    first, second = first_successes / max(first_episodes, 1), second_successes / max(second_episodes, 1)
    first_low, first_high = wilson_interval(first_successes, first_episodes, confidence)
    second_low, second_high = wilson_interval(second_successes, second_episodes, confidence)
    below = sqrt((first - first_low) ** 2 + (second_high - second) ** 2)
    above = sqrt((first_high - first) ** 2 + (second - second_low) ** 2)
    return first - second - below, first - second + above


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Return the probability of so uneven a split if neither did better (McNemar's exact test, two-sided).

    Args:
        only_first: Pairs in which the first succeeded and the second did not.
        only_second: The other way round.
    """
    uneven = only_first + only_second
    return float(binomtest(only_first, uneven).pvalue) if uneven else 1.0


def paired_difference_interval(
    only_first: int, only_second: int, pairs: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the first's success rate less the second's, on the same seeds.

    It is wider than nothing even if no pair is uneven, as a resampled one would not be.

    Args:
        only_first: Pairs in which the first succeeded and the second did not.
        only_second: The other way round.
        pairs: All of them.
        confidence: Share of such intervals that hold the truth.

    Raises:
        ConfigurationError: More uneven pairs than pairs, or none at all.

    Source: Agresti and Min (2005), Simple improved confidence intervals for comparing matched proportions: a half is
        added to each of the four counts.
    """
    if pairs < 1 or min(only_first, only_second) < 0 or only_first + only_second > pairs:
        got = f"{only_first} and {only_second} of {pairs}"
        raise ConfigurationError("uneven pairs", got=got, allowed="0 or more, together at most all pairs")
    first, second, total = only_first + 0.5, only_second + 0.5, pairs + 2
    middle = (first - second) / total
    reach = norm.ppf((1 + confidence) / 2) * sqrt(first + second - (first - second) ** 2 / total) / total
    return float(max(-1.0, middle - reach)), float(min(1.0, middle + reach))


def bootstrap_interval(
    statistic: Callable[..., np.ndarray],
    *columns: Float[np.ndarray, "_units"],
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic; the same one every time.

    Args:
        statistic: Takes as many arrays [..., units] as there are columns and reduces their last axis.
        columns: Numbers of each unit, for example an episode; a unit's numbers are drawn together.
        confidence: Share of such intervals that hold the truth.
        seed: Of the draws.

    Raises:
        ConfigurationError: Fewer than two units, or columns of different lengths.
    """
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or min(lengths) < 2:
        raise ConfigurationError("units to resample", got=sorted(lengths), allowed="two or more, alike in all columns")
    (units,) = lengths
    drawn = np.random.default_rng(seed).integers(0, units, (NUM_RESAMPLES, units))
    values = statistic(*(np.asarray(column, float)[drawn] for column in columns))
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])  # draws without a value: left out
    return float(low), float(high)


def mean_interval(values: Float[np.ndarray, " units"], confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a mean: Student's t, for of few units a percentile bootstrap's is too narrow.

    Args:
        values: One of each unit.
        confidence: Share of such intervals that hold the truth.

    Raises:
        ConfigurationError: Fewer than two units.
    """
    if len(values) < 2:
        raise ConfigurationError("units of a mean", got=len(values), allowed="two or more")
    reach = t.ppf((1 + confidence) / 2, len(values) - 1) * sem(values)
    return float(np.mean(values) - reach), float(np.mean(values) + reach)


def mean_of(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis."""
    return values.mean(axis=-1)


def ratio_of_means(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the ratio of the means over the last axis; nan where the denominator's is 0."""
    over, under = numerator.mean(axis=-1), denominator.mean(axis=-1)
    return np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under != 0)


def slope_parts(times: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return per series the sums of which `ratio_of_means` is the slope that the series have in common.

    Each series may have a level of its own: the slope says how values grow within a series, not that the longer ones
    are higher.

    Args:
        times: Of each series, float [points].
        values: At these times.

    Raises:
        ConfigurationError: A series without as many values as times.
    """
    if [len(series) for series in times] != [len(series) for series in values]:
        raise ConfigurationError("points of a series", got="unequal numbers of times and values", allowed="equal ones")
    centred = [np.asarray(series, float) - np.mean(series) for series in times]
    products = [(t * np.asarray(v, float)).sum() for t, v in zip(centred, values, strict=True)]
    return np.array(products), np.array([(t * t).sum() for t in centred])
