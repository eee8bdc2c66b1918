"""What a policy is made of: networks with their weights, a robot, settings; whatever drives the robot with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from foreact.codecs.text import TextEncoder
from foreact.codecs.video_vae import VideoVAE
from foreact.embodiments import ActionCodec, Embodiment
from foreact.policy.inference import InferenceConfig
from foreact.transformer.model import WorldActionModel


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What a policy computes with; holds weights only, and may serve any number of sessions."""

    model: WorldActionModel
    """Trained."""
    vae: VideoVAE
    """Frozen."""
    text_encoder: TextEncoder
    """Frozen."""
    text_files: Path | None = None
    """The folder whose `text_encoder/` and `tokenizer/` a large encoder was read from; they are saved along."""


@runtime_checkable
class PolicyParts(Protocol):
    """What is stored of a policy. `Policy` has all of it; storage knows only this, so that a policy can save itself."""

    @property
    def networks(self) -> Networks:
        """Trained."""
        ...

    @property
    def codec(self) -> ActionCodec:
        """The robot, and the normalisation of its actions."""
        ...

    @property
    def config(self) -> InferenceConfig:
        """How chunks are computed."""
        ...

    @property
    def instructions(self) -> tuple[str, ...]:
        """What it was trained on, word for word."""
        ...

    @property
    def embodiment(self) -> Embodiment:
        """The robot."""
        ...

    @property
    def actions_per_chunk(self) -> int:
        """Actions of one chunk."""
        ...
