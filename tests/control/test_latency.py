from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.control.latency import DelayEstimate, DelaySettings, constant, lognormal, recorded
from foreact.errors import ConfigurationError


def test_models_of_latency() -> None:
    assert list(islice(constant(0.3), 3)) == [0.3] * 3
    assert list(islice(recorded([0.1, 0.2, 0.4]), 5)) == [0.1, 0.2, 0.4, 0.1, 0.2]
    drawn, again = (np.array(list(islice(lognormal(0.2, 0.3, seed=4), 4000))) for _ in range(2))
    assert (drawn == again).all() and (drawn > 0).all()
    assert np.median(drawn) == pytest.approx(0.2, rel=0.03)
    assert np.log(drawn).std() == pytest.approx(0.3, rel=0.05)
    assert (drawn > 1.6 * 0.2).mean() == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(
    "make",
    [
        lambda: constant(-0.1),
        lambda: constant(float("inf")),
        lambda: recorded([]),
        lambda: recorded([0.1, float("nan")]),
        lambda: lognormal(-1.0, 0.1, seed=0),
        lambda: lognormal(1.0, -0.1, seed=0),
        lambda: DelaySettings(quantile=1.1),
        lambda: DelaySettings(window=0),
        lambda: DelaySettings(margin_ticks=-1),
        lambda: DelaySettings(initial_s=-1.0),
    ],
)
def test_what_cannot_be_is_refused_at_once(make) -> None:
    with pytest.raises(ConfigurationError):
        make()


@given(st.lists(st.floats(0, 2), min_size=1, max_size=30), st.integers(1, 10), st.floats(0, 1), st.integers(0, 3))
def test_the_estimate_is_a_measured_delay_that_covers_the_share(measured, window, quantile, margin) -> None:
    settings = DelaySettings(quantile=quantile, window=window, initial_s=9.0, margin_ticks=margin)
    estimate = DelayEstimate(settings, 50.0)
    assert estimate.ticks == 450 + margin
    for delay_s in measured:
        estimate.measured(delay_s)
    recent = measured[-window:]
    ticks = [int(np.ceil(delay_s * 50 - 1e-6)) for delay_s in recent]
    assert estimate.ticks - margin in ticks
    assert np.mean([t <= estimate.ticks - margin for t in ticks]) >= quantile - 1e-9


def test_the_first_chunk_is_a_guess_only() -> None:
    estimate = DelayEstimate(DelaySettings(), 50.0)
    assert estimate.ticks == 0
    estimate.measured_first(3.0)
    assert estimate.ticks == 150
    estimate.measured(0.1)
    assert estimate.ticks == 5
    stored = DelayEstimate(DelaySettings(initial_s=0.04), 50.0)
    stored.measured_first(3.0)
    assert stored.ticks == 2


@given(st.integers(0, 1000), st.floats(0, 1e4))
def test_whole_ticks_stay_whole_whatever_the_clock_says(ticks, start_s) -> None:
    estimate = DelayEstimate(DelaySettings(), 50.0)
    estimate.measured((start_s + ticks * 0.02) - start_s)
    assert estimate.ticks == ticks
