"""One robot's conversation with a policy: everything that is its own."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from foreact.codecs.video_vae import EncoderStream
from foreact.policy.rollout import Prediction, Rollout


@dataclass(kw_only=True, repr=False)
class Session:
    """Made by `Policy.start`; changed by `observe` and `predict`; dropped when the robot is done."""

    instruction: str
    rollout: Rollout
    """The cache, the instruction's keys and the noise."""
    streams: dict[str, EncoderStream]
    """Per camera, the video VAE's memory of the frames before."""
    initial_pose: np.ndarray | None = None
    """[num_dofs], the action that held the robot still when it was first seen; None until then."""
    observed: Tensor | None = None
    """[channels, frames, height, width], the latents observed last."""
    prediction: Prediction | None = None
    """The chunk predicted last; None once it has been replaced by what was observed."""

    def __repr__(self) -> str:
        """Return one line: the instruction, how much was seen, whether a chunk is predicted."""
        seen = self.rollout.cache.num_observed
        chunk = "no chunk predicted" if self.prediction is None else "a chunk predicted"
        return f"Session({self.instruction!r}, {seen} latent frame{'' if seen == 1 else 's'} seen, {chunk})"
