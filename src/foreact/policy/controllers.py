"""Acting while thinking: the algorithms, behind the one interface that the robot's side knows.

C is what was really observed, and the actions executed on the way. It is kept in the session's cache, and imagination
never enters it. A chunk asked for while actions are under way is predicted from C', which is thrown away with it:

    synchronous   C; the robot stands still meanwhile
    naive         C and, for the actions under way, what was imagined when they were decided
    grounded      C and, for the actions under way, what they lead to, imagined now from what was really seen last
                  (forward dynamics)
    prefixed      as grounded; and the new chunk goes on from the actions that will be executed before it arrives
    open_loop     what was imagined stands for what happened: a policy that never looks

Where imagination and reality part (`disagreement` above a threshold calibrated on held-out episodes), a chunk under way
is no ground to plan on: the controller asks to see first, and the robot acts synchronously until they agree again.

Source: LingBot-VA (arXiv 2601.21998), algorithm for asynchronous control.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from foreact.control.controller import Turn
from foreact.errors import ConfigurationError
from foreact.policy.committed import Committed
from foreact.policy.disagreement import ImaginedFrames
from foreact.policy.policy import Policy
from foreact.types import ActionChunk, Observation

ControlMode = Literal["synchronous", "naive", "grounded", "prefixed", "open_loop"]
MODES: tuple[str, ...] = get_args(ControlMode)


class PolicyController:
    """One robot under one policy; the robot's side (`control.drive`) asks it for one chunk after another."""

    def __init__(
        self,
        policy: Policy,
        instruction: str,
        *,
        mode: ControlMode = "grounded",
        seed: int = 0,
        threshold: float | None = None,
        on_observed: Callable[[Tensor], None] | None = None,
    ):
        """Start a session.

        Args:
            policy: Decides.
            instruction: What to do, in words.
            mode: Which of the algorithms.
            seed: Of the policy's noise.
            threshold: Disagreement above which nothing is planned on actions under way; None: as the policy was
                calibrated, or never if it was not.
            on_observed: Told the latents of what was seen, [channels, frames, height, width], as they are appended.

        Raises:
            ConfigurationError: There is no such mode, or the policy was not trained for it.
        """
        check_mode(policy, mode)
        self.mode: ControlMode = mode
        self.policy = policy if self.waits else with_room(policy)
        self.session = self.policy.start(instruction, seed=seed)
        self.threshold = policy.config.disagreement_threshold if threshold is None else threshold
        self._imagined = ImaginedFrames()
        self._on_observed = on_observed or (lambda latents: None)

    @property
    def waits(self) -> bool:
        """Whether the robot stands still while a chunk is computed."""
        return self.mode in ("synchronous", "open_loop")

    @property
    def inpaints(self) -> bool:
        """Whether a chunk can go on from actions that are decided already."""
        return self.mode == "prefixed"

    def begin(self, observation: Observation) -> ActionChunk:
        """Return the first chunk, from the first pictures."""
        images = {camera: image[None] for camera, image in observation.images.items()}
        self.policy.observe_first(self.session, images, observation.state)
        self._tell_observed()
        return self._predict(None)

    def proceed(self, turn: Turn) -> ActionChunk:
        """Return the next chunk, or one without actions: to be asked again when everything was seen."""
        if self.mode == "open_loop":
            self.policy.believe(self.session)
            return self._predict(None)
        disagreement = self._observe(turn)
        if self._must_see(turn, disagreement):
            return ActionChunk(actions=turn.executed[:0], disagreement=disagreement)
        return replace(self._predict(self._committed(turn)), disagreement=disagreement)

    def _observe(self, turn: Turn) -> float | None:
        """Append what was seen and done to C; return how far it is from what was imagined, if anything was."""
        timing, distances = self.policy.embodiment.timing, []
        step = self.policy.actions_per_chunk  # more may have passed than a chunk, if an answer came late
        for start in range(0, len(turn.executed), step):
            stop = min(start + step, len(turn.executed))
            seen = slice(start // timing.camera_stride, stop // timing.camera_stride)
            images = {camera: frames[seen] for camera, frames in turn.images.items()}
            first = self.session.rollout.num_observed
            self.policy.observe(self.session, images, turn.executed[start:stop])
            distances += self._imagined.observe(first, self._tell_observed())
        return float(np.mean(distances)) if distances else None

    def _tell_observed(self) -> Tensor:
        latents = self.session.observed
        assert latents is not None
        self._on_observed(latents)
        return latents

    def _must_see(self, turn: Turn, disagreement: float | None) -> bool:
        if not (len(turn.under_way) or len(turn.prefix)):
            return False
        if self.session.rollout.num_frames_at_head:  # C does not hold the first frame yet: nothing can follow it
            return True
        return None not in (self.threshold, disagreement) and disagreement > self.threshold  # type: ignore[operator]

    def _committed(self, turn: Turn) -> Committed:
        """Return what is beyond C, and what is believed of it: nothing, unless naively."""
        believed = None
        if self.mode == "naive" and len(turn.under_way):
            num_frames = len(turn.under_way) // self.policy.embodiment.timing.actions_per_latent_frame
            believed = self._imagined.believed(self.session.rollout.num_observed, num_frames)
        return Committed(under_way=turn.under_way, prefix=turn.prefix, believed=believed)

    def _predict(self, committed: Committed | None) -> ActionChunk:
        chunk = self.policy.predict(self.session, committed)
        prediction = self.session.prediction
        if prediction is not None and prediction.latents is not None:
            per_frame = self.policy.embodiment.timing.actions_per_latent_frame
            num_ahead = 0 if committed is None else len(committed.under_way) // per_frame
            self._imagined.imagine(self.session.rollout.num_observed + num_ahead, prediction.latents)
        return chunk


def check_mode(policy: Policy, mode: str) -> None:
    """Refuse a mode that does not exist, or that a policy was not trained for.

    Raises:
        ConfigurationError: One of these.
    """
    if mode not in MODES:
        raise ConfigurationError("controller", got=mode, allowed=", ".join(MODES))
    config = policy.config
    lacking = {
        "naive": not config.imagines,
        "open_loop": not config.imagines,
        "grounded": not config.forward_dynamics,
        "prefixed": not (config.forward_dynamics and config.action_prefixes),
    }
    if lacking.get(mode):
        raise ConfigurationError(
            f"policy under {mode} control",
            got="one that was not trained for it",
            allowed="synchronous" + (", naive, open_loop" if config.imagines else ""),
            cure="post-train it, as the recipe tiny-grounded does",
        )


def with_room(policy: Policy) -> Policy:
    """Return the policy with room in its caches for actions under way."""
    return policy if policy.config.asynchronous else policy.with_config(replace(policy.config, asynchronous=True))
