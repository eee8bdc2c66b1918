"""What passes between a robot and a policy. NumPy only: the robot side has no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from foreact.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a robot perceived at one instant."""

    images: Mapping[str, np.ndarray]
    """Camera name to uint8 [height, width, 3], RGB."""
    state: np.ndarray
    """float32 [num_dofs], the robot's own units, in the order of its actions."""
    time_s: float
    """Seconds since the episode began."""

    def __post_init__(self) -> None:
        for name, image in self.images.items():
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
                raise InputError(
                    f"image of camera {name!r}",
                    got=f"{image.dtype} {image.shape}",
                    allowed="uint8 [height, width, 3]",
                )
        if not np.all(np.isfinite(self.state)):
            raise InputError("observation.state", got=self.state, allowed="finite numbers")


@dataclass(frozen=True, kw_only=True)
class ActionChunk:
    """The actions a policy wants executed next, one per control step."""

    actions: np.ndarray
    """float32 [num_actions, num_dofs], the robot's own units."""
    imagined_latents: np.ndarray | None = None
    """float32 [channels, latent frames, height, width]: the future these actions were decoded from."""
    foreseen_latents: np.ndarray | None = None
    """The same of the latent frames before it, which actions under way will lead to; None if none were under way, or
    nobody asked what they lead to."""
    disagreement: float | None = None
    """How far what was seen since the last chunk is from what had been imagined; None if nothing had been."""
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds spent per stage (encode, imagine, decode_actions, ...)."""
