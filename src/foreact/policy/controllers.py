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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isnan
from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

from foreact.control.config import ControlConfig
from foreact.control.controller import Turn
from foreact.errors import ConfigurationError
from foreact.policy.committed import Committed
from foreact.policy.disagreement import ImaginedFrames
from foreact.policy.policy import Images, Policy
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
        window: int | None = None,
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
            window: Latent frames of history kept; None: as the policy is configured.
            on_observed: Told the latents of what was seen, [channels, frames, height, width], as they are appended.

        Raises:
            ConfigurationError: There is no such mode, the policy was not trained for it, or the threshold is no number.
        """
        check_mode(policy, mode)
        if threshold is not None and isnan(threshold):  # nothing is above it: the robot would never look
            raise ConfigurationError("threshold of disagreement", got=threshold, allowed="a number, inf for never")
        self.mode: ControlMode = mode
        self.policy = policy if self.waits else with_room(policy)
        self.session = self.policy.start(instruction, seed=seed, window=window)
        self.threshold = policy.config.disagreement_threshold if threshold is None else threshold
        self._imagined = ImaginedFrames()
        self._distances: list[float] = []
        """Of the frames of the present turn that were seen so far, from what had been imagined."""
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
        self.observe_first(observation)
        return self._note_predicted(self.policy.predict(self.session), None)

    def observe_first(self, observation: Observation) -> None:
        """Take in the first pictures alone; `proceed`, with nothing executed, returns the first chunk then."""
        images = {camera: image[None] for camera, image in observation.images.items()}
        self.policy.observe_first(self.session, images, observation.state)
        self._note_observed()

    def proceed(self, turn: Turn) -> ActionChunk:
        """Return the next chunk, or one without actions: to be asked again when everything was seen."""
        return proceed_together([self], [turn])[0]

    def pieces(self, turn: Turn) -> list[Turn]:
        """Return a turn as several, the last of which alone has actions under way, each of a chunk at most.

        More than a chunk may have passed if an answer came late. To take them one after another, all but the last
        with `observe_piece`, leads to the same as to take the turn whole.
        """
        step, stride = self.policy.actions_per_chunk, self.policy.embodiment.timing.camera_stride
        num_executed = len(turn.executed)
        if self.mode == "open_loop" or num_executed <= step:
            return [turn]
        pieces = []
        for start in range(0, num_executed, step):
            stop = min(start + step, num_executed)
            seen = slice(start // stride, stop // stride)
            images = {camera: frames[seen] for camera, frames in turn.images.items()}
            none = turn.under_way[:0]
            pieces.append(Turn(images=images, executed=turn.executed[start:stop], under_way=none, prefix=none))
        pieces[-1] = replace(pieces[-1], under_way=turn.under_way, prefix=turn.prefix)
        return pieces

    def observe_piece(self, piece: Turn) -> None:
        """Take in a part of a turn, of a chunk at most; the rest comes next (`pieces`).

        Raises:
            InputError: Pictures or actions that cannot be.
        """
        self.policy.observe_together([self.session], (piece.images,), (piece.executed,))
        self._distances += self._note_observed()

    def _note_observed(self) -> list[float]:
        """Tell what was appended to C; return how far each of its frames is from what was imagined, if anything was."""
        latents = self.session.observed
        assert latents is not None
        self._on_observed(latents)
        return self._imagined.observe(self.session.rollout.num_observed - latents.shape[1], latents)

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

    def _note_predicted(self, chunk: ActionChunk, turn: Turn | None) -> ActionChunk:
        """Keep what was imagined until it is seen."""
        prediction = self.session.prediction
        if prediction is not None and prediction.latents is not None:
            per_frame = self.policy.embodiment.timing.actions_per_latent_frame
            num_ahead = 0 if turn is None else len(turn.under_way) // per_frame
            self._imagined.imagine(self.session.rollout.num_observed + num_ahead, prediction.latents)
        return chunk


def proceed_together(controllers: Sequence[PolicyController], turns: Sequence[Turn]) -> list[ActionChunk]:
    """Return the next chunk of several robots, computed as one batch: what `proceed` returns for each.

    1. C of each robot grows by what it really saw and did. 2. Where that is not what had been imagined, nothing is
    planned on actions under way. 3. For all others the next chunk is predicted from C and what they are committed to.

    Args:
        controllers: All different, of one policy; modes and histories may differ.
        turns: One for each.

    Raises:
        InputError: A turn that cannot be; those of the others may have been taken in.
    """
    found = observe_together(controllers, turns)
    chunks = [
        ActionChunk(actions=turn.executed[:0], disagreement=away) for turn, away in zip(turns, found, strict=True)
    ]
    planned = [number for number, each in enumerate(controllers) if not each._must_see(turns[number], found[number])]
    if planned:
        committed = [controllers[number]._committed(turns[number]) for number in planned]
        policy = controllers[0].policy
        made = policy.predict_together([controllers[number].session for number in planned], committed)
        for number, chunk in zip(planned, made, strict=True):
            noted = controllers[number]._note_predicted(chunk, turns[number])
            chunks[number] = replace(noted, disagreement=found[number])
    return chunks


def observe_together(controllers: Sequence[PolicyController], turns: Sequence[Turn]) -> list[float | None]:
    """Let C of several robots grow by what they really saw and did; return how far that is from what was imagined.

    Args:
        controllers: All different, of one policy.
        turns: One for each; what is under way has no part in it.

    Returns:
        The disagreement of each: a mean over latent frames (`frame_distances`); None if nothing had been imagined.

    Raises:
        InputError: A turn that cannot be; those of the others may have been taken in.
    """
    policy = controllers[0].policy
    pieces = [_seen_pieces(controller, turn) for controller, turn in zip(controllers, turns, strict=True)]
    for controller in controllers:
        if controller.mode == "open_loop" and controller.session.prediction is not None:
            policy.accept_imagined(controller.session)
    while seen := {number: piece for number, each in enumerate(pieces) if (piece := next(each, None)) is not None}:
        sessions = [controllers[number].session for number in seen]
        policy.observe_together(sessions, *zip(*seen.values(), strict=True))
        for number in seen:
            controllers[number]._distances += controllers[number]._note_observed()
    found = [float(np.mean(each._distances)) if each._distances else None for each in controllers]
    for each in controllers:
        each._distances = []
    return found


def _seen_pieces(controller: PolicyController, turn: Turn) -> Iterator[tuple[Images, np.ndarray]]:
    """Yield what was seen and done; nothing to a policy that never looks."""
    if controller.mode == "open_loop":
        return
    for piece in controller.pieces(turn):
        if len(piece.executed):
            yield piece.images, piece.executed


def check_mode(policy: Policy, mode: str) -> None:
    """Refuse a mode that does not exist, or that a policy was not trained for.

    Raises:
        ConfigurationError: One of these.
    """
    if mode not in MODES:
        raise ConfigurationError("controller", got=mode, allowed=", ".join(MODES))
    config = policy.config
    lacking = {
        "naive": not config.trained.imagines,
        "open_loop": not config.trained.imagines,
        "grounded": not config.trained.forward_dynamics,
        "prefixed": not (config.trained.forward_dynamics and config.trained.action_prefixes),
    }
    if lacking.get(mode):
        raise ConfigurationError(
            f"policy under {mode} control",
            got="one that was not trained for it",
            allowed="synchronous" + (", naive, open_loop" if config.trained.imagines else ""),
            cure="post-train it, as the recipe tiny-grounded does",
        )


def with_room(policy: Policy) -> Policy:
    """Return the policy with room in its caches for actions under way."""
    return policy if policy.config.asynchronous else policy.with_config(replace(policy.config, asynchronous=True))


def control_config(policy: Policy, **settings: Any) -> ControlConfig:
    """Return how the policy's robot is driven, at the rates of its embodiment."""
    timing = policy.embodiment.timing
    return ControlConfig(
        action_hz=timing.action_hz,
        camera_stride=timing.camera_stride,
        actions_per_latent_frame=timing.actions_per_latent_frame,
        latent_frames_per_chunk=policy.config.latent_frames_per_chunk,
        **settings,
    )
