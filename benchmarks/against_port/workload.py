"""What both sides are given: counts of tokens and steps, one network of random weights, text, noise, observations."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LATENT_CHANNELS = 48
"""The port has this number in its code."""
ACTION_CHANNELS = 30
TEXT_LENGTH = 512
"""Tokens that an instruction is padded to."""
WORDS = 15
"""Tokens of the instruction that are not padding; of the empty one, a single token is not."""
VIDEO_GUIDANCE = 5.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of the network."""

    num_layers: int = 6
    num_heads: int = 8
    head_dim: int = 32
    """The port splits it in three for its positions: 32 and 128 can be, 64 cannot."""
    ffn_dim: int = 1024
    text_dim: int = 256

    @property
    def width(self) -> int:
        """Of the residual stream."""
        return self.num_heads * self.head_dim


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of one benchmark's tokens and steps."""

    name: str
    frames: int
    """Latent frames per chunk."""
    canvas: tuple[int, int]
    """Latent picture; a token is 2 x 2 of it."""
    actions: int
    """Per latent frame."""
    video_steps: int
    action_steps: int
    video_shift: float
    action_shift: float
    used_channels: int
    cameras: int
    picture: tuple[int, int]
    layout: str
    """As the port calls it."""
    pool_chunks: int
    """Chunks that the port's cache holds, the one in flight included."""

    @property
    def video_tokens(self) -> int:
        """Per latent frame."""
        return self.canvas[0] * self.canvas[1] // 4

    @property
    def full_chunks(self) -> int:
        """Chunks of history at a full window."""
        return self.pool_chunks - 1

    @property
    def histories(self) -> dict[str, int]:
        """Chunks observed before the one that is timed."""
        return {"0": 0, "half": self.full_chunks // 2, "full": self.full_chunks}

    def shortened(self, divisor: int) -> tuple[int, int]:
        """Return fewer video and action steps, in proportion."""
        return max(1, self.video_steps // divisor), max(1, self.action_steps // divisor)


LIBERO = Counts(
    name="LIBERO",
    frames=4,
    canvas=(8, 16),
    actions=4,
    video_steps=20,
    action_steps=50,
    video_shift=5.0,
    action_shift=0.05,
    used_channels=7,
    cameras=2,
    picture=(128, 128),
    layout="width_concat",
    pool_chunks=15,
)
ROBOTWIN = Counts(
    name="RoboTwin",
    frames=2,
    canvas=(24, 20),
    actions=16,
    video_steps=25,
    action_steps=50,
    video_shift=5.0,
    action_shift=1.0,
    used_channels=16,
    cameras=3,
    picture=(256, 320),
    layout="robotwin_tshape",
    pool_chunks=36,
)
COUNTS = {counts.name.lower(): counts for counts in (LIBERO, ROBOTWIN)}


@dataclass(frozen=True, kw_only=True)
class Given:
    """All that is random, but the weights."""

    prompt: Tensor
    """[1, TEXT_LENGTH, text_dim], zeros after `WORDS` tokens."""
    empty: Tensor
    """The same with a single token."""
    first: Tensor
    """Latents of the first observation, [1, channels, 1, height, width]."""
    seen: list[tuple[Tensor, Tensor]]
    """Latents [1, channels, frames, height, width] and actions [1, channels, frames, actions, 1] of each chunk."""
    noise: dict[str, Tensor]
    """Of the chunk that is timed, by stream."""


def draw(size: Size, counts: Counts, *, seed: int) -> Given:
    """Return random inputs."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def text(words: int) -> Tensor:
        tokens = torch.zeros(1, TEXT_LENGTH, size.text_dim)
        tokens[:, :words] = randn(1, words, size.text_dim)
        return tokens

    def video(frames: int) -> Tensor:
        return randn(1, LATENT_CHANNELS, frames, *counts.canvas)

    def actions(frames: int, known: int) -> Tensor:
        values = torch.zeros(1, ACTION_CHANNELS, frames, counts.actions, 1)
        new = frames - known
        values[:, : counts.used_channels, known:] = randn(1, counts.used_channels, new, counts.actions, 1)
        return values

    def chunks() -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(counts.pool_chunks):
            known = 1 if number == 0 else 0  # the first chunk's first latent frame is the first observation
            yield video(counts.frames - known), actions(counts.frames, known)

    return Given(
        prompt=text(WORDS),
        empty=text(1),
        first=video(1),
        seen=list(chunks()),
        noise={
            "video": video(counts.frames),
            "action": randn(1, ACTION_CHANNELS, counts.frames, counts.actions, 1),
        },
    )
