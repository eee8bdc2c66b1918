"""Euler integration of a velocity field along flow time."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from foreact.errors import ConfigurationError
from foreact.flow.path import shift_flow_time

MOST_STEPS = 10_000
"""Of a schedule: far more than any sampler takes, and few enough that their times are listed at once."""


def euler_times(num_steps: int, *, shift: float = 1.0, stop: float = 1.0) -> list[float]:
    """Return the num_steps + 1 flow times from 0 to `stop` that a solver visits.

    Stopping early spaces the steps anew over [0, stop]: cutting a shifted schedule short instead would save
    little, because a shifted schedule spends most of its steps near noise.

    Raises:
        ConfigurationError: `num_steps` below 0 or above `MOST_STEPS`, `shift` not above 0, `stop` outside [0, 1], or a
            way to go with no steps to do it.
    """
    if not 0 <= num_steps <= MOST_STEPS:
        raise ConfigurationError("number of denoising steps", got=num_steps, allowed=f"0 to {MOST_STEPS}")
    if not 0.0 <= stop <= 1.0:
        raise ConfigurationError("flow time to stop at", got=stop, allowed="[0, 1]")
    if not shift > 0:
        raise ConfigurationError("time shift", got=shift, allowed="above 0")
    if (num_steps == 0) != (stop == 0.0):
        raise ConfigurationError(
            "denoising steps and stopping time contradict each other",
            got=f"{num_steps} steps to s = {stop}",
            allowed="0 steps exactly when s_stop is 0",
        )
    if num_steps == 0:
        return [0.0]
    even = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    return (shift_flow_time(even, shift) * stop).tolist()


def integrate(velocity: Callable[[Tensor, float], Tensor], start: Tensor, times: list[float]) -> Tensor:
    """Return the point reached from `start` by one Euler step between each pair of neighbouring times.

    Args:
        velocity: Maps (point, flow time) to the velocity there.
        start: Noise, when times[0] is 0.
        times: Rising flow times; see `euler_times`.
    """
    point = start
    for now, after in itertools.pairwise(times):
        point = point + (after - now) * velocity(point, now)
    return point
