"""Velocities from a network that is asked for something of unit spread at every flow time.

A network whose output is the velocity, data - noise, has to carry the noise it was shown exactly through all layers:
near s = 0 nearly all of its output is that noise, and what it knows about the data is a small part on top. A narrow
network spends its width on it. Here the part of the velocity that follows from the noisy point alone, if data were
Gaussian with a known spread, is added outside of the network, and the network is asked for the rest, scaled to unit
spread: the data themselves at s = 0, the noise at s = 1.

Source: Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models (arXiv 2206.00364), section 5,
carried over to the straight path x = (1 - s) noise + s data.
"""

from torch import Tensor


def preconditioned_velocity(output: Tensor, point: Tensor, flow_time: Tensor, data_std: float) -> Tensor:
    """Return the velocity at a point of the path.

    Args:
        output: Of the network, any shape.
        point: Where on the path, the same shape.
        flow_time: s in [0, 1]; its axes are the leading axes of `point`, or broadcast to them.
        data_std: Spread of the data; that of the noise is 1.
    """
    s = flow_time.reshape(flow_time.shape + (1,) * (point.ndim - flow_time.ndim)).to(point.dtype)
    variance = (1 - s) ** 2 + (s * data_std) ** 2
    return (s * data_std**2 - (1 - s)) / variance * point + data_std * variance.rsqrt() * output
