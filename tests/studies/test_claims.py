import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.errors import ConfigurationError
from foreact.evaluation.statistics import paired_difference_interval, wilson_interval
from foreact.studies.claims import Claim, Estimate, contrast, difference, judge, level, matches

A, B = {"policy": "a"}, {"policy": "b"}


@pytest.mark.parametrize(
    ("low", "high", "more_than", "verdict"),
    [
        (0.02, 0.30, 0.0, "holds"),
        (-0.30, -0.02, 0.0, "fails"),
        (-0.02, 0.30, 0.0, "not decided by the interval"),
        (-0.04, 0.10, -0.05, "holds"),
        (0.02, 0.30, 0.03, "not decided by the interval"),
        (-math.inf, math.inf, 0.0, "not decided by the interval"),
    ],
)
def test_a_claim_is_judged_by_the_whole_interval(low: float, high: float, more_than: float, verdict: str) -> None:
    claim = Claim(name="a beats b", first=A, second=B, more_than=more_than)
    assert judge(claim, Estimate(0.5 * (low + high) if math.isfinite(low) else 0.0, low, high, 50)) == verdict


def test_what_was_not_run_is_not_judged() -> None:
    assert judge(Claim(name="a beats b", first=A, second=B), None) == "not run yet"


def test_a_contrast_needs_two_sides() -> None:
    with pytest.raises(ConfigurationError, match="beside"):
        Claim(name="c", first=A, beside=(A, B))


def test_a_share_has_wilsons_interval_and_other_figures_students() -> None:
    share = level([1.0] * 46 + [0.0] * 4, "success")
    assert (share.middle, share.low, share.high) == (0.92, *wilson_interval(46, 50))
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    error = level(values.tolist(), "action_error")
    assert error.middle == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert (error.low, error.high) == pytest.approx((error.middle - half, error.middle + half), abs=0.02)
    assert level([], "success") is None
    assert level([2.0], "progress").high == math.inf


def test_differences_are_of_pairs() -> None:
    """Both succeed on half of the seeds; on the same half there is no difference, and the interval is narrow."""
    alike = difference([(1.0, 1.0), (0.0, 0.0)] * 25, "success")
    apart = difference([(1.0, 0.0), (0.0, 1.0)] * 25, "success")
    assert alike.middle == apart.middle == 0.0
    assert (alike.low, alike.high) == paired_difference_interval(0, 0, 50)
    assert apart.high - apart.low > 3 * (alike.high - alike.low)
    errors = difference([(1.0 + n, 0.5 + n) for n in range(20)], "imagination_error")
    assert (errors.middle, errors.low, errors.high) == pytest.approx((0.5, 0.5, 0.5))
    assert difference([], "success") is None


@given(st.tuples(*[st.floats(-1, 1)] * 2), st.tuples(*[st.floats(0.01, 1)] * 4))
def test_a_contrast_is_as_uncertain_as_both_together(middles, reaches) -> None:
    one = Estimate(middles[0], middles[0] - reaches[0], middles[0] + reaches[1], 10)
    other = Estimate(middles[1], middles[1] - reaches[2], middles[1] + reaches[3], 20)
    both, back = contrast(one, other), contrast(other, one)
    assert both.middle == pytest.approx(middles[0] - middles[1])
    assert (back.low, back.high) == pytest.approx((-both.high, -both.low))
    assert math.hypot(reaches[0], reaches[3]) == pytest.approx(both.middle - both.low)
    assert both.num_units == 30


def test_contrasts_hold_the_truth_as_often_as_they_say() -> None:
    """Simulated: gaps of 0.3 and 0.1, 60 seeds each; the interval should hold 0.2 in 95 of 100 studies."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        gaps = []
        for first, second in ((0.7, 0.4), (0.6, 0.5)):
            pairs = zip(rng.random(60) < first, rng.random(60) < second, strict=True)
            gaps.append(difference([(float(a), float(b)) for a, b in pairs], "success"))
        found = contrast(*gaps)
        held += found.low <= 0.2 <= found.high
    assert 0.92 * 300 <= held <= 0.99 * 300


def test_labels_match_as_numbers_or_text() -> None:
    assert matches({"s_stop": 0.5, "task": "lift_cube"}, {"s_stop": "0.5"})
    assert not matches({"s_stop": 0.5}, {"s_stop": 0.25})
