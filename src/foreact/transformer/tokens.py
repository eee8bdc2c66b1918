"""What the network reads and writes: latents cut into tokens, and the inputs of a stream."""

from dataclasses import dataclass

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from foreact.transformer.positions import RotaryTable

PATCH = 2
"""Side of the square of latent positions that is one video token, in Wan's and all published weights."""


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
    latents: Float[Tensor, "batch channels frames height width"], patch_size: int
) -> Float[Tensor, "batch frames tokens patch"]:
    """Return video tokens in order (row, column) within each frame, features in order (channel, row, column)."""
    return rearrange(latents, "b c f (h p) (w q) -> b f (h w) (c p q)", p=patch_size, q=patch_size)


def unpatchify(
    tokens: Float[Tensor, "batch frames tokens patch"], height: int, width: int, patch_size: int
) -> Float[Tensor, "batch channels frames height width"]:
    """Return the latents whose tokens these are: the inverse of `patchify`.

    Args:
        tokens: Patches in (row, column) order.
        height: Of the latent picture.
        width: Of the latent picture.
        patch_size: Side of a token's square of latent positions.
    """
    return rearrange(
        tokens,
        "b f (h w) (c p q) -> b c f (h p) (w q)",
        h=height // patch_size,
        w=width // patch_size,
        p=patch_size,
        q=patch_size,
    )


def pack_actions(actions: StreamInput, per_token: int) -> StreamInput:
    """Return actions [batch, frames, actions, channels] as tokens of `per_token` actions each, in order of time.

    The rotary table is that of the tokens already. Flow times may be per action; a token takes its first action's.
    """
    if per_token == 1:
        return actions
    values = rearrange(actions.values, "b f (n p) c -> b f n (p c)", p=per_token)
    time = actions.flow_time
    return StreamInput(
        values=values, flow_time=time[..., ::per_token] if time.ndim == 3 else time, rotary=actions.rotary
    )


def unpack_actions(
    tokens: Float[Tensor, "batch frames tokens features"], per_token: int
) -> Float[Tensor, "batch frames actions channels"]:
    """Return the actions that tokens of `per_token` actions stand for: the inverse of `pack_actions`."""
    return tokens if per_token == 1 else rearrange(tokens, "b f n (p c) -> b f (n p) c", p=per_token)
