"""The preconditioned velocity: what it adds is exact where data are Gaussian, and what it asks for has unit spread."""

import pytest
import torch

from foreact.flow.path import point_on_path, velocity_of_path
from foreact.transformer.preconditioning import preconditioned_velocity


def wanted_output(noise, data, time, std):
    """What a network must put out for the velocity to be right, found by solving for it."""
    point, velocity = point_on_path(noise, data, time), velocity_of_path(noise, data)
    zero = preconditioned_velocity(torch.zeros_like(point), point, time, std)
    slope = preconditioned_velocity(torch.ones_like(point), point, time, std) - zero
    return (velocity - zero) / slope


@pytest.mark.parametrize("std", [0.3, 1.0])
@pytest.mark.parametrize("flow_time", [0.0, 0.3, 0.9, 1.0])
def test_the_network_is_asked_for_unit_spread_that_the_point_does_not_give_away(std, flow_time):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    data = std * torch.randn(200_000, 1, generator=generator, dtype=torch.float64)
    time = torch.full((200_000,), flow_time, dtype=torch.float64)
    wanted = wanted_output(noise, data, time, std)
    point = point_on_path(noise, data, time)
    assert wanted.std().item() == pytest.approx(1, abs=0.01)
    assert abs((wanted * point).mean().item()) < 0.01 * point.std().item()


def test_at_noise_it_is_asked_for_the_data_and_at_the_data_for_the_noise():
    noise, data = torch.tensor([[0.7]]), torch.tensor([[-0.2]])
    assert wanted_output(noise, data, torch.tensor([0.0]), 0.4).item() == pytest.approx(-0.2 / 0.4, abs=1e-6)
    assert wanted_output(noise, data, torch.tensor([1.0]), 0.4).item() == pytest.approx(-0.7, abs=1e-6)


def test_times_of_frames_and_of_tokens_are_broadcast():
    output, point = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    by_frame = preconditioned_velocity(output, point, torch.full((2, 1), 0.4), 0.5)
    by_token = preconditioned_velocity(output, point, torch.full((2, 3, 4), 0.4), 0.5)
    torch.testing.assert_close(by_frame, by_token)
