"""Where the weights start.

The action stream is made from the video stream, matrix by matrix, so that both streams' activations have like
distributions when they first meet in joint attention. Source: LingBot-VA (arXiv 2601.21998), section 3.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foreact.errors import ConfigurationError
from foreact.transformer.model import WorldActionModel

NUM_MODULATIONS = 6
"""Rows of the largest modulation table: a stack of vectors, not a matrix."""

ActionInitialization = Literal["interpolated", "copied", "random"]


def initialize(model: WorldActionModel, *, seed: int, action: ActionInitialization = "interpolated") -> None:
    """Set every weight of `model` in place: the video stream at random, the action stream as asked.

    "interpolated" shrinks the video stream's layers to the action width, "copied" cuts out their first rows and
    columns, "random" draws them afresh.
    """
    if action not in get_args(ActionInitialization):
        raise ConfigurationError("action initialization", got=action, allowed=", ".join(get_args(ActionInitialization)))
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for stream in (model.video, model.action):
        for time in (stream.time_in, stream.time_out):
            nn.init.normal_(time.weight, std=0.02, generator=generator)
        nn.init.normal_(stream.head.weight, std=0.02, generator=generator)
        for table in [stream.head_table, *(block.modulation_table for block in stream.blocks)]:
            nn.init.normal_(table, std=table.shape[-1] ** -0.5, generator=generator)  # type: ignore[arg-type]
    if action != "random":
        derive_action_stream(model, resize_weight if action == "interpolated" else cut_weight)


@torch.no_grad()
def derive_action_stream(model: WorldActionModel, derive: Callable[[Tensor, tuple[int, ...]], Tensor]) -> None:
    """Overwrite the action stream's layers (in place) by what `derive` makes of the video stream's.

    What only the action stream has (its way in and out, a factorized way up and down) keeps its own weights.
    """
    video = dict(model.video.named_parameters())
    for name, parameter in model.action.named_parameters():
        if name.startswith(("embed", "head.")) or ".joint.up." in name or ".joint.down." in name:
            continue
        parameter.copy_(derive(video[name], tuple(parameter.shape)))


def cut_weight(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the first rows and columns of `weight`, unscaled: the plain copy that interpolation is compared with."""
    return weight[tuple(slice(size) for size in shape)]


def resize_weight(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return `weight` interpolated linearly to `shape`, a matrix so that the variance of what it puts out is kept.

    A matrix with fewer inputs sums fewer terms: sqrt(old inputs / new inputs) makes up for it. Interpolation averages
    neighbours, which shrinks rows and columns that have nothing in common: each is brought back to the length of a sum
    of independent terms. Vectors (biases, norms, modulation tables) are interpolated as they are.
    """
    is_matrix = weight.ndim == 2 and weight.shape[0] > NUM_MODULATIONS
    columns = _interpolation(weight.shape[-1], shape[-1], keep_variance=is_matrix)
    if not is_matrix:
        return (weight.double() @ columns.T).to(weight.dtype)
    rows = _interpolation(weight.shape[0], shape[0], keep_variance=True)
    return (rows @ weight.double() @ columns.T * (weight.shape[1] / shape[1]) ** 0.5).to(weight.dtype)


def _interpolation(size: int, new_size: int, *, keep_variance: bool) -> Tensor:
    """Return the matrix [new_size, size] that interpolates linearly, ends on ends.

    In float64, so that a seed gives the same float32 weights however many threads multiply.
    """
    weights = F.interpolate(
        torch.eye(size, dtype=torch.float64)[None], size=new_size, mode="linear", align_corners=True
    )[0].T
    return weights / weights.norm(dim=1, keepdim=True) if keep_variance else weights
