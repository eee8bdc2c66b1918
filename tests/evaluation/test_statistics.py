import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreact.errors import ConfigurationError
from foreact.evaluation.statistics import (
    bootstrap_interval,
    mcnemar_p,
    mean_interval,
    mean_of,
    paired_difference_interval,
    ratio_of_means,
    slope_parts,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        # Closed form (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1.959964, by hand.
        (0, 10, 0.0, 0.27754),
        (10, 10, 0.72246, 1.0),
        (5, 10, 0.23659, 0.76341),
        (45, 50, 0.78640, 0.95652),
        (49, 50, 0.89505, 0.99646),
        (1, 1, 0.20654, 1.0),
    ],
)
def test_known_values(successes: int, episodes: int, low: float, high: float) -> None:
    assert wilson_interval(successes, episodes) == pytest.approx((low, high), abs=2e-5)


@given(episodes=st.integers(1, 300), data=st.data())
def test_rate_lies_inside_and_failure_is_the_mirror(episodes: int, data) -> None:
    successes = data.draw(st.integers(0, episodes))
    low, high = wilson_interval(successes, episodes)
    assert 0 <= low <= successes / episodes + 1e-12 and successes / episodes - 1e-12 <= high <= 1
    mirrored = wilson_interval(episodes - successes, episodes)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)


def test_more_confidence_is_wider() -> None:
    narrow, wide = wilson_interval(7, 20, 0.8), wilson_interval(7, 20, 0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(("successes", "episodes"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, episodes: int) -> None:
    with pytest.raises(ConfigurationError, match="success count"):
        wilson_interval(successes, episodes)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (3, 3, 1.0), (0, 5, 2 / 2**5), (1, 7, 2 * (1 + 8) / 2**8), (9, 1, 2 * (1 + 10) / 2**10)],
)
def test_mcnemar_is_the_toss_of_a_coin(only_first: int, only_second: int, p: float) -> None:
    assert mcnemar_p(only_first, only_second) == pytest.approx(p)


@pytest.mark.parametrize(
    ("only_first", "only_second", "pairs", "low", "high"),
    [
        # By hand, z = 1.959964: n = 52, (b + c) = 1, difference 0: reach z / 52.
        (0, 0, 50, -0.037692, 0.037692),
        # b = 9.5, c = 1.5, n = 102: 8 / 102 -+ z sqrt(11 - 64 / 102) / 102.
        (9, 1, 100, 0.0165457, 0.1403171),
        (1, 9, 100, -0.1403171, -0.0165457),
    ],
)
def test_known_differences(only_first: int, only_second: int, pairs: int, low: float, high: float) -> None:
    assert paired_difference_interval(only_first, only_second, pairs) == pytest.approx((low, high), abs=2e-6)


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_impossible_pairs_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match="uneven pairs"):
        paired_difference_interval(*counts)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        sample = rng.exponential(2.0, 60)
        low, high = bootstrap_interval(mean_of, sample)
        held += low <= 2.0 <= high
    assert 85 <= held <= 100  # 95 expected, a little less for skewed samples; 85 is over four deviations off


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    sample = np.random.default_rng(2).normal(size=400)
    low, high = bootstrap_interval(mean_of, sample)
    reach = 1.96 * sample.std() / 20
    assert (low, high) == pytest.approx((sample.mean() - reach, sample.mean() + reach), abs=0.01)


@pytest.mark.parametrize("units", [3, 10, 60])
def test_the_interval_of_a_mean_holds_the_truth_of_few_units_too(units: int) -> None:
    rng = np.random.default_rng(3)
    intervals = [mean_interval(rng.normal(2.0, 1.0, units)) for _ in range(400)]
    held = sum(low <= 2.0 <= high for low, high in intervals)
    assert 360 <= held <= 398  # 380 expected, 4 deviations are 17


def test_the_mean_of_one_has_no_interval() -> None:
    with pytest.raises(ConfigurationError, match="two or more"):
        mean_interval(np.ones(1))


@given(st.floats(0.1, 3.0))
@settings(max_examples=5)
def test_columns_are_drawn_together(ratio: float) -> None:
    column = np.arange(1.0, 9.0)
    assert bootstrap_interval(ratio_of_means, ratio * column, column) == pytest.approx((ratio, ratio))


def test_a_ratio_over_nothing_is_left_out() -> None:
    successes = np.array([1.0, 0.0])
    assert np.isnan(ratio_of_means(successes, np.zeros(2)))
    assert bootstrap_interval(ratio_of_means, successes, successes) == (1.0, 1.0)


@pytest.mark.parametrize("columns", [(np.ones(1),), (np.ones(3), np.ones(4))])
def test_what_cannot_be_resampled_is_refused(columns: tuple[np.ndarray, ...]) -> None:
    with pytest.raises(ConfigurationError, match="units to resample"):
        bootstrap_interval(lambda *drawn: mean_of(drawn[0]), *columns)


def test_the_common_slope_ignores_levels_and_lengths() -> None:
    times = [np.arange(4.0), np.arange(9.0), np.arange(2.0)]
    values = [2.0 * t + level for t, level in zip(times, (5.0, -3.0, 100.0), strict=True)]
    assert ratio_of_means(*slope_parts(times, values)) == pytest.approx(2.0)


def test_the_slope_of_one_series_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(3)
    times, values = rng.normal(size=20), rng.normal(size=20)
    assert ratio_of_means(*slope_parts([times], [values])) == pytest.approx(np.polyfit(times, values, 1)[0])


def test_a_series_without_a_value_per_time_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="points of a series"):
        slope_parts([np.ones(3)], [np.ones(2)])
