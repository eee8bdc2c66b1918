"""What the network reads and writes: latents cut into tokens, and the inputs of a stream."""

from dataclasses import dataclass

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from foreact.transformer.positions import RotaryTable

PATCH = 2
"""A video token is a patch of 1 x 2 x 2 latent positions."""


@dataclass(frozen=True, kw_only=True)
class StreamInput:
    """Tokens of one stream, arranged by latent frame."""

    values: Float[Tensor, "batch frames tokens features"]
    """Patches of latents, or model-unit actions; noisy or clean."""
    flow_time: Float[Tensor, "batch #frames *#tokens"]
    """How far each latent frame's tokens are from noise (0) to data (1); with an axis more, each token by itself."""
    rotary: RotaryTable
    """Where the tokens are."""


def patchify(
    latents: Float[Tensor, "batch channels frames height width"],
) -> Float[Tensor, "batch frames tokens patch"]:
    """Return video tokens in order (row, column) within each frame, features in order (channel, row, column)."""
    return rearrange(latents, "b c f (h p) (w q) -> b f (h w) (c p q)", p=PATCH, q=PATCH)


def unpatchify(
    tokens: Float[Tensor, "batch frames tokens patch"], height: int, width: int
) -> Float[Tensor, "batch channels frames height width"]:
    """Return the latents whose tokens these are: the inverse of `patchify`.

    Args:
        tokens: Patches in (row, column) order.
        height: Of the latent picture.
        width: Of the latent picture.
    """
    return rearrange(
        tokens,
        "b f (h w) (c p q) -> b c f (h p) (w q)",
        h=height // PATCH,
        w=width // PATCH,
        p=PATCH,
        q=PATCH,
    )
