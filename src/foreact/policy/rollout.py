"""What one run of the network over time owns, what it is given for the next chunk, and what comes back."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from foreact.trace import Trace
from foreact.transformer.cache import KVCache
from foreact.transformer.model import TextContext


@dataclass(frozen=True, kw_only=True)
class KnownFrames:
    """Latent frames and their actions in model units, as tokens: what happened, not what may."""

    video: Float[Tensor, "1 frames video_tokens patch"]
    action: Float[Tensor, "1 frames action_tokens channels"]

    def followed_by(self, later: "KnownFrames") -> "KnownFrames":
        """Return both, one after the other."""
        return KnownFrames(
            video=torch.cat([self.video, later.video], dim=1), action=torch.cat([self.action, later.action], dim=1)
        )

    @property
    def num_frames(self) -> int:
        """Latent frames."""
        return self.video.shape[1]


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What is decided already when a chunk is asked for, in model units: it begins after the actions under way."""

    actions: Float[Tensor, "frames actions action_channels"]
    """Under way: of whole latent frames after the last observed one."""
    latents: Float[Tensor, "channels frames height width"] | None = None
    """Where they are believed to lead; None: imagine it from them (forward dynamics)."""
    prefix: Float[Tensor, "prefix_actions action_channels"] | None = None
    """The first actions of the chunk asked for; the others go on from them."""

    @property
    def num_frames(self) -> int:
        """Latent frames under way."""
        return len(self.actions)


@dataclass(kw_only=True)
class Rollout:
    """What one rollout owns: its cache, its instruction, its noise. The network owns nothing of it."""

    cache: KVCache
    text: TextContext
    """Conditional in row 0, unconditional in row 1 if there is one."""
    conditional: TextContext
    """Row 0 alone."""
    generator: torch.Generator
    head: KnownFrames | None = None
    """The first observed latent frame while it waits to stand at the head of the first chunk; then None."""
    last_action: Float[Tensor, " action_channels"] | None = None
    """The action executed last, in model units; None before anything was observed."""
    trace: Trace = field(default_factory=Trace)

    @property
    def next_frame(self) -> int:
        """Number of the first latent frame of the next chunk."""
        return self.cache.num_observed + self.cache.num_ahead

    @property
    def num_frames_at_head(self) -> int:
        """Latent frames of the next chunk that are known already."""
        return 0 if self.head is None else self.head.num_frames

    @property
    def num_observed(self) -> int:
        """Latent frames observed since the rollout began."""
        return self.cache.num_observed + self.num_frames_at_head


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One chunk, in model units."""

    latents: Float[Tensor, "channels frames height width"] | None
    """Best guess of the clean future: where the last velocity leads at flow time 1. None if nothing was imagined."""
    actions: Float[Tensor, "frames actions action_channels"]
    """Those that lead to these frames."""
    foreseen: Float[Tensor, "channels ahead height width"] | None = None
    """Where actions under way were imagined to lead; None if that was not asked for."""
