"""Where the weights start.

The action stream is made from the video stream, matrix by matrix, so that both streams' activations have like
distributions when they first meet in joint attention. Source: LingBot-VA (arXiv 2601.21998), section 3.
"""

import hashlib
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from foreact.errors import ConfigurationError
from foreact.transformer.model import WorldActionModel

NUM_MODULATIONS = 6
"""Rows of the largest modulation table: a stack of vectors, not a matrix."""

SMALL = ("time_in", "time_out", "head")
"""Linear layers that start near zero."""

ActionInitialization = Literal["interpolated", "copied", "random"]


def initialize(model: WorldActionModel, *, seed: int, action: ActionInitialization = "interpolated") -> None:
    """Set every weight of `model` in place: the video stream at random, the action stream as asked.

    "interpolated" shrinks the video stream's layers to the action width, "copied" cuts out their first rows and
    columns, "random" draws them afresh.
    """
    if action not in get_args(ActionInitialization):
        raise ConfigurationError("action initialization", got=action, allowed=", ".join(get_args(ActionInitialization)))
    generator = torch.Generator().manual_seed(seed)
    weights = model.state_dict(keep_vars=True)  # in the order in which they are stored: what a seed gives depends on it
    for name, weight in weights.items():
        if name.endswith(".bias") and not _is_norm(name):
            nn.init.zeros_(weight)
        elif weight.ndim == 2 and not name.endswith(("_table", ".place")):
            _draw(weight, generator)
    for stream in ("video", "action"):
        for name in SMALL:
            _draw(weights[f"{stream}.{name}.weight"], generator, small=True)
        for name, table in weights.items():
            if name.startswith(stream) and name.endswith(("_table", ".place")):
                nn.init.normal_(table, std=table.shape[-1] ** -0.5, generator=generator)
    if action != "random":
        derive_action_stream(model, resize_weight if action == "interpolated" else cut_weight)


def fresh_weight(name: str, shape: tuple[int, ...], *, seed: int) -> Tensor:
    """Return a weight or bias of a linear layer as `initialize` distributes it, drawn from the seed and the name alone.

    So it is the same in whatever order the weights of a network are made.
    """
    if name.endswith(".bias"):
        return torch.zeros(shape)
    digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return _draw(torch.empty(shape), generator, small=name.split(".")[-2] in SMALL)


def _is_norm(name: str) -> bool:
    return "norm" in name.split(".")[-2]


def _draw(weight: Tensor, generator: torch.Generator, *, small: bool = False) -> Tensor:
    if small:
        return nn.init.normal_(weight, std=0.02, generator=generator)
    return nn.init.xavier_uniform_(weight, generator=generator)


@torch.no_grad()
def derive_action_stream(model: WorldActionModel, derive: Callable[[Tensor, tuple[int, ...]], Tensor]) -> None:
    """Overwrite the action stream's layers (in place) by what `derive` makes of the video stream's.

    What only the action stream has keeps its own weights. Where the layers are shared, only its clock is made so.
    """
    weights = model.state_dict(keep_vars=True)
    for name, weight in weights.items():
        own = name.removeprefix("action.")
        if name.startswith("action.") and is_inherited(own):
            weight.copy_(derive(weights[f"video.{own}"], tuple(weight.shape)))


def is_inherited(name: str) -> bool:
    """Return whether the action stream's tensor of that name is made from the video stream's of the same name.

    Its way in and out, its places, and a factorized way up and down, only the action stream has.
    """
    return not (name.startswith(("embed", "head.", "place")) or ".joint.up." in name or ".joint.down." in name)


def cut_weight(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the first rows and columns of `weight`, unscaled: the plain copy that interpolation is compared with."""
    return weight[tuple(slice(size) for size in shape)]


def resize_weight(weight: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return `weight` interpolated linearly to `shape`, a matrix so that the variance of what it puts out is kept.

    A matrix with fewer inputs sums fewer terms: sqrt(old inputs / new inputs) makes up for it. Interpolation averages
    neighbours, which shrinks rows and columns that have nothing in common: each is brought back to the length of a sum
    of independent terms. Vectors (biases, norms, modulation tables) are interpolated as they are.
    """
    if tuple(weight.shape) == shape:
        return weight.clone()
    if weight.ndim == 1 or weight.shape[0] <= NUM_MODULATIONS:
        return _interpolate(weight, shape[-1], dim=-1).to(weight.dtype)
    rows = _interpolate(weight, shape[0], dim=0, keep_variance=True)
    both = _interpolate(rows, shape[1], dim=1, keep_variance=True)
    return (both * (weight.shape[1] / shape[1]) ** 0.5).to(weight.dtype)


def _interpolate(weight: Tensor, new_size: int, *, dim: int, keep_variance: bool = False) -> Tensor:
    """Return the weight interpolated linearly along one axis, ends on ends, in float64.

    Value by value, so that a seed gives the same weights however many threads work.
    """
    size = weight.shape[dim]
    place = torch.arange(new_size, dtype=torch.float64) * ((size - 1) / max(new_size - 1, 1))
    below = place.floor().long().clamp(max=max(size - 2, 0))
    above = (below + 1).clamp(max=size - 1)
    share = place - below
    length = (share**2 + (1 - share) ** 2).sqrt() if keep_variance else torch.ones_like(share)
    along = [1] * weight.ndim
    along[dim] = -1
    lower, upper = ((part / length).view(along) for part in (1 - share, share))
    return lower * weight.index_select(dim, below).double() + upper * weight.index_select(dim, above).double()
