"""The straight path from noise to data, and the time that runs along it.

Flow time s is 0 at noise and 1 at data. Source: Lipman et al., Flow Matching (arXiv 2210.02747);
the LingBot-VA paper uses the same path for video latents and for actions.
"""

from torch import Tensor


def point_on_path(noise: Tensor, data: Tensor, flow_time: Tensor) -> Tensor:
    """Return (1 - s) * noise + s * data, with `flow_time` broadcast over trailing axes.

    Args:
        noise: Any shape.
        data: The same shape.
        flow_time: s in [0, 1]; its axes are the leading axes of `data`.
    """
    s = flow_time.reshape(flow_time.shape + (1,) * (data.ndim - flow_time.ndim)).to(data.dtype)
    return (1 - s) * noise + s * data


def velocity_of_path(noise: Tensor, data: Tensor) -> Tensor:
    """Return data - noise, the constant velocity of the straight path."""
    return data - noise


def shift_flow_time(flow_time: Tensor, shift: float) -> Tensor:
    """Return flow time bent towards noise: s / (s + shift * (1 - s)).

    With shift above 1 more of the steps lie near noise, where large pictures are decided. In the noise level
    sigma = 1 - s this is the usual shift * sigma / (1 + (shift - 1) * sigma).
    Source: Esser et al., arXiv 2403.03206, equation 23.
    """
    return flow_time / (flow_time + shift * (1 - flow_time))
