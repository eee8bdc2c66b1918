"""What a robot has committed itself to when it asks for the next chunk, in its own units."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from foreact.embodiments import ActionCodec
from foreact.errors import ConfigurationError, InputError
from foreact.policy.inference import InferenceConfig
from foreact.policy.rollout import Ahead


@dataclass(frozen=True, kw_only=True)
class Committed:
    """Actions that will be executed whatever is predicted now."""

    under_way: Float[np.ndarray, "time dofs"]
    """Before the chunk asked for begins: whole latent frames of actions that nobody has seen the outcome of."""
    prefix: Float[np.ndarray, "prefix dofs"]
    """The first actions of the chunk asked for, which will be executed before it arrives."""
    believed: Float[Tensor, "channels frames height width"] | None = None
    """Latents to which the actions under way are believed to lead; None: they are imagined anew from what was really
    seen (grounding)."""

    def ahead(
        self, codec: ActionCodec, config: InferenceConfig, initial_pose: Float[np.ndarray, " dofs"]
    ) -> Ahead | None:
        """Return the same in model units; None if nothing is committed.

        Raises:
            ConfigurationError: The policy was not trained for it, or has no room in its cache.
            InputError: Actions that do not make whole latent frames, or too many of them.
        """
        if not len(self.under_way) and not len(self.prefix):
            return None
        per_frame = codec.embodiment.timing.actions_per_latent_frame
        self._check(config, per_frame)

        def encode(actions: np.ndarray) -> Tensor:
            return torch.from_numpy(codec.encode(actions, initial_pose))

        return Ahead(
            actions=encode(self.under_way).unflatten(0, (-1, per_frame))
            if len(self.under_way)
            else torch.zeros(0, per_frame, len(codec.mask)),
            latents=self.believed,
            prefix=encode(self.prefix) if len(self.prefix) else None,
        )

    def _check(self, config: InferenceConfig, per_frame: int) -> None:
        most = config.latent_frames_per_chunk * per_frame
        if len(self.under_way) % per_frame or len(self.under_way) > most:
            allowed = f"a multiple of {per_frame} up to {most}"
            raise InputError("number of actions under way", got=len(self.under_way), allowed=allowed)
        if len(self.prefix) >= most:
            raise InputError("number of actions of the prefix", got=len(self.prefix), allowed=f"less than {most}")
        if len(self.under_way) and not config.asynchronous:
            raise ConfigurationError(
                "policy with asynchronous", got="False", allowed="True", cure="load it with asynchronous=True"
            )
        if len(self.under_way) and self.believed is None and not config.trained.forward_dynamics:
            raise ConfigurationError("policy trained for forward_dynamics", got="False", allowed="True", cure=TRAIN)
        if len(self.prefix) and not config.trained.action_prefixes:
            raise ConfigurationError("policy trained for action_prefixes", got="False", allowed="True", cure=TRAIN)


TRAIN = "post-train it: foreact train --recipe tiny-grounded --initial POLICY (or its corruption settings in yours)"
