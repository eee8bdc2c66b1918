from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foreact.errors import ConfigurationError
from foreact.flow.solver import euler_times, integrate


@given(num_steps=st.integers(1, 30), shift=st.floats(0.2, 10), stop=st.floats(0.05, 1))
def test_times_rise_from_noise_to_the_stop(num_steps: int, shift: float, stop: float) -> None:
    times = euler_times(num_steps, shift=shift, stop=stop)
    assert len(times) == num_steps + 1
    assert times[0] == 0 and times[-1] == pytest.approx(stop)
    assert all(before < after for before, after in pairwise(times))


def test_times_are_even_without_shift_and_follow_the_formula_with_it() -> None:
    assert euler_times(4) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    # s / (s + 3 (1 - s)) at 1/4, 1/2, 3/4
    assert euler_times(4, shift=3.0) == pytest.approx([0, 0.1, 0.25, 0.5, 1])


def test_stopping_early_spaces_the_steps_anew() -> None:
    assert euler_times(4, shift=3.0, stop=0.5) == pytest.approx([0, 0.05, 0.125, 0.25, 0.5])


def test_nothing_to_do() -> None:
    assert euler_times(0, stop=0.0) == [0.0]
    start = torch.randn(3)
    assert torch.equal(integrate(lambda x, s: x / 0, start, [0.0]), start)


@pytest.mark.parametrize(
    ("num_steps", "settings"),
    [
        (-1, {}),
        (3, {"stop": 1.5}),
        (3, {"stop": -0.1}),
        (3, {"stop": float("nan")}),
        (0, {}),
        (3, {"stop": 0.0}),
        (3, {"shift": 0.0}),
        (3, {"shift": -2.0}),
        (3, {"shift": float("nan")}),
    ],
)
def test_impossible_schedules_are_refused(num_steps: int, settings: dict) -> None:
    with pytest.raises(ConfigurationError):
        euler_times(num_steps, **settings)


@given(num_steps=st.integers(1, 8), shift=st.floats(0.5, 5))
def test_a_straight_path_is_exact_whatever_the_steps(num_steps: int, shift: float) -> None:
    """Data is a single point: the marginal velocity (data - x) / (1 - s) leads along straight lines."""
    data, noise = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    end = integrate(lambda x, s: (data - x) / (1 - s), noise, euler_times(num_steps, shift=shift))
    torch.testing.assert_close(end, data)


def test_a_gaussian_is_reached_at_first_order() -> None:
    """Data ~ N(mean, std^2): the flow maps noise z to mean + std z; Euler's error shrinks as 1 / steps."""
    mean, std = 0.7, 0.3
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)

    def velocity(x: torch.Tensor, s: float) -> torch.Tensor:
        variance = (1 - s) ** 2 + (s * std) ** 2
        return mean + (s * std**2 - (1 - s)) / variance * (x - s * mean)

    def error(num_steps: int) -> float:
        end = integrate(velocity, noise, euler_times(num_steps))
        return (end - (mean + std * noise)).abs().max().item()

    assert error(400) < 4e-3
    assert 1.8 < error(100) / error(200) < 2.2


def test_velocity_is_asked_at_the_beginning_of_each_step() -> None:
    asked = []

    def velocity(x: torch.Tensor, s: float) -> torch.Tensor:
        asked.append(s)
        return torch.ones_like(x)

    end = integrate(velocity, torch.zeros(2), [0.0, 0.25, 0.75])
    assert asked == [0.0, 0.25]
    assert torch.equal(end, torch.full((2,), 0.75))
