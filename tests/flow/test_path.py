import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foreact.flow.path import point_on_path, shift_flow_time, velocity_of_path

TIMES = st.floats(0, 1)
SHIFTS = st.floats(0.2, 12)


def test_path_runs_from_noise_to_data() -> None:
    noise, data = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    assert torch.equal(point_on_path(noise, data, torch.zeros(2, 3)), noise)
    assert torch.equal(point_on_path(noise, data, torch.ones(2, 3)), data)


def test_flow_time_belongs_to_leading_axes() -> None:
    noise, data = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    times = torch.tensor([[0.0, 0.25, 0.5], [0.75, 1.0, 0.125]])
    assert torch.equal(point_on_path(noise, data, times), times[:, :, None].expand(2, 3, 4))


@given(s=TIMES)
def test_velocity_is_the_derivative_of_the_path(s: float) -> None:
    noise, data = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    here = point_on_path(noise, data, torch.tensor(s, dtype=torch.float64))
    ahead = point_on_path(noise, data, torch.tensor(s + 1e-3, dtype=torch.float64))
    torch.testing.assert_close((ahead - here) / 1e-3, velocity_of_path(noise, data))


@given(s=TIMES, shift=SHIFTS)
def test_shift_is_the_usual_one_in_noise_level(s: float, shift: float) -> None:
    sigma = 1 - s
    shifted = shift_flow_time(torch.tensor(s, dtype=torch.float64), shift).item()
    assert 1 - shifted == pytest.approx(shift * sigma / (1 + (shift - 1) * sigma), abs=1e-12)


@given(s=TIMES, shift=SHIFTS)
def test_shift_keeps_both_ends_and_bends_towards_noise(s: float, shift: float) -> None:
    shifted = shift_flow_time(torch.tensor([0.0, s, 1.0], dtype=torch.float64), shift)
    assert shifted[0] == 0 and shifted[2] == 1
    assert (shifted[1] <= s + 1e-12) if shift >= 1 else (shifted[1] >= s - 1e-12)


@given(s=TIMES, first=SHIFTS, second=SHIFTS)
def test_shifts_multiply(s: float, first: float, second: float) -> None:
    time = torch.tensor(s, dtype=torch.float64)
    twice = shift_flow_time(shift_flow_time(time, first), second)
    torch.testing.assert_close(twice, shift_flow_time(time, first * second))
