"""How well a video VAE reconstructs: the loss it is trained on, the figures it is judged by."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_SALIENT_DIFFERENCE = 0.25
"""A difference of this size, of the 2 between black and white, makes a pixel fully salient."""
_HUBER_EDGE = 0.1
"""Errors below it count squared, above it linearly."""


def saliency(
    pixels: Float[Tensor, "batch 3 time height width"], mean_picture: Float[Tensor, "batch 3 1 height width"]
) -> Float[Tensor, "batch 1 time height width"]:
    """How much a pixel matters, in [0, 1]: its difference from the mean picture or from the frame before.

    Most of a table is static and fills the mean; a cube that covers one pixel in a hundred decides success. A
    plain average would let the network forget it and still look good.
    """
    from_mean = (pixels - mean_picture).abs().amax(dim=1, keepdim=True)
    in_time = functional.pad(pixels.diff(dim=2).abs().amax(dim=1, keepdim=True), (0, 0, 0, 0, 1, 0))
    return (torch.maximum(from_mean, in_time) / _SALIENT_DIFFERENCE).clamp(max=1)


def reconstruction_loss(
    got: Float[Tensor, "batch 3 time height width"],
    wanted: Float[Tensor, "batch 3 time height width"],
    weight: Float[Tensor, "batch 1 time height width"],
) -> Float[Tensor, ""]:
    """Weighted mean of the Huber error, in units of pixel difference."""
    error = functional.huber_loss(got, wanted, reduction="none", delta=_HUBER_EDGE) / _HUBER_EDGE
    return (error.mean(dim=1, keepdim=True) * weight).sum() / weight.sum()


def kl_divergence(mean: Float[Tensor, "*shape"], log_variance: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean per latent number of the divergence of the posterior from a unit normal, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean()


def psnr_db(
    got: Float[Tensor, "batch 3 time height width"],
    wanted: Float[Tensor, "batch 3 time height width"],
    weight: Float[Tensor, "batch 1 time height width"] | None = None,
) -> float:
    """Peak signal-to-noise ratio of pixels in [-1, 1]; with `weight`, over the pixels it marks."""
    squared = (got - wanted).square().mean(dim=1, keepdim=True)
    weight = torch.ones_like(squared) if weight is None else weight
    mean_squared = (squared * weight).sum() / weight.sum().clamp(min=1e-12)
    return (10 * torch.log10(4 / mean_squared.clamp(min=1e-12))).item()
