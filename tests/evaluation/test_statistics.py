import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.errors import ConfigurationError
from foreact.evaluation.statistics import wilson_interval


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
