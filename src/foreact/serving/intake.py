"""From what a robot sent to what its controller is given: checked against the policy before anything is computed."""

from collections.abc import Mapping

import numpy as np

from foreact.control.controller import Turn
from foreact.control.protocol import Begin, Observe, RefusalError, Step
from foreact.policy.controllers import PolicyController
from foreact.policy.policy import Policy
from foreact.serving.config import Limits
from foreact.serving.logs import logger
from foreact.types import Observation

MOST_STATE_ENTRIES = 1024
_MOST_NUMBER = 1e9
"""Of states and actions: joint angles, encoder counts and micrometres are far below it."""


class Intake:
    """Of one policy."""

    def __init__(self, policy: Policy, limits: Limits):
        """Know what fits the policy."""
        self._embodiment, self._timing, self._limits = policy.embodiment, policy.embodiment.timing, limits
        self._per_chunk = policy.actions_per_chunk
        self._codec, self._told = policy.codec, set[str]()

    def observation(self, message: Begin) -> Observation:
        """Return the first observation.

        Raises:
            RefusalError: bad_observation or too_large.
        """
        images = self.pictures(message.images)
        return Observation(images=images, state=self.state(message.state), time_s=0.0)

    def first(self, message: Observe) -> Observation:
        """Return the first observation in a message of one frame, no actions and a state.

        Raises:
            RefusalError: bad_observation or too_large.
        """
        if message.state is None or len(message.executed):
            cure = "send the state, one frame of each camera, and no actions"
            raise RefusalError("bad_observation", "first observation", got="actions, or no state", cure=cure)
        clips = self._clips(message.images, 1)
        images = {camera: clip[0] for camera, clip in clips.items()}
        return Observation(images=images, state=self.state(message.state), time_s=0.0)

    def turn(self, message: Step, controller: PolicyController) -> Turn:
        """Return the turn.

        Raises:
            RefusalError: bad_observation or too_large.
        """
        per_frame = self._timing.actions_per_latent_frame
        ahead, prefix = self._actions("under_way", message.under_way), self._actions("prefix", message.prefix)
        if len(ahead) % per_frame or len(ahead) > self._per_chunk or (len(ahead) and controller.waits):
            allowed = "none" if controller.waits else f"a multiple of {per_frame} up to {self._per_chunk}"
            self._refuse(f"actions under way, mode {controller.mode}", len(ahead), allowed)
        if len(prefix) and (not controller.inpaints or len(prefix) >= self._per_chunk):
            allowed = f"fewer than {self._per_chunk}" if controller.inpaints else "none"
            self._refuse(f"actions of the prefix, mode {controller.mode}", len(prefix), allowed)
        executed, images = self._passed(message.executed, message.images)
        return Turn(images=images, executed=executed, under_way=ahead, prefix=prefix)

    def passed(self, message: Observe) -> Turn:
        """Return what was seen and done, at most a chunk of it, as a turn after which nothing is under way.

        Raises:
            RefusalError: bad_observation or too_large.
        """
        if message.state is not None or not 0 < len(message.executed) <= self._per_chunk:
            allowed = f"1 to {self._per_chunk} actions, and no state"
            self._refuse("observation after the first", f"{len(message.executed)} actions", allowed)
        executed, images = self._passed(message.executed, message.images)
        return Turn(images=images, executed=executed, under_way=executed[:0], prefix=executed[:0])

    def pictures(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return one picture of each of the policy's cameras, uint8 [height, width, 3].

        Raises:
            RefusalError: bad_observation or too_large.
        """
        clips = {camera: image[None] for camera, image in images.items() if image.ndim == 3}
        return {camera: clip[0] for camera, clip in self._clips(clips, 1).items()}

    def state(self, state: np.ndarray) -> np.ndarray:
        """Return the state.

        Raises:
            RefusalError: bad_observation.
        """
        embodiment = self._embodiment
        most, expected = MOST_STATE_ENTRIES, embodiment.num_state_entries
        self._check_size("state", state)
        if embodiment.channels and len(state) <= most:  # published weights know nothing of the robot's posture
            return state
        if len(state) != expected:
            names = ", ".join(embodiment.state_names or embodiment.dof_names)
            self._refuse("entries of the state", len(state), f"{expected}: {names}")
        self._look_at(state)
        return state

    def _look_at(self, state: np.ndarray) -> None:
        """Log what is odd about a state, each joint once: units or order may be wrong."""
        for odd in self._codec.odd_entries(state):
            name = odd.partition(" ")[0]
            if name not in self._told:
                self._told.add(name)
                logger.warning("odd state", extra={"why": f"{odd}: check the units and the order of the state"})

    def _passed(self, executed: np.ndarray, images: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict]:
        executed, per_frame = self._actions("executed", executed), self._timing.actions_per_latent_frame
        most = self._limits.turn_chunks * self._per_chunk
        if len(executed) % per_frame or len(executed) > most:
            self._refuse("executed actions", len(executed), f"a multiple of {per_frame} up to {most}")
        return executed, self._clips(images, len(executed) // self._timing.camera_stride)

    def _actions(self, what: str, actions: np.ndarray) -> np.ndarray:
        if actions.shape[1] != self._embodiment.num_dofs:
            names = ", ".join(self._embodiment.dof_names)
            self._refuse(f"entries of an action, {what}", actions.shape[1], f"{self._embodiment.num_dofs}: {names}")
        self._check_size(f"actions, {what}", actions)
        return actions

    def _clips(self, images: Mapping[str, np.ndarray], num_frames: int) -> dict[str, np.ndarray]:
        cameras = self._embodiment.cameras
        if missing := [camera for camera in cameras if camera not in images]:
            self._refuse(f"images lack cameras {', '.join(missing)}", ", ".join(images)[:200] or "none", cameras)
        for camera in cameras:
            length, height, width, _ = images[camera].shape
            if length != num_frames or not (height and width):
                got, allowed = list(images[camera].shape), f"[{num_frames}, height, width, 3]"
                self._refuse(f"frames of camera {camera!r}", got, allowed)
            if height * width > self._limits.picture_pixels:
                allowed = f"up to {self._limits.picture_pixels} pixels"
                raise RefusalError("too_large", f"picture of {camera!r}", got=f"{height}x{width}", allowed=allowed)
        return {camera: images[camera] for camera in cameras}

    def _check_size(self, what: str, numbers: np.ndarray) -> None:
        """Refuse numbers that no robot's units can mean: squared, they would overflow."""
        if numbers.size and (largest := float(np.abs(numbers).max())) > _MOST_NUMBER:
            self._refuse(f"largest number in {what}", f"{largest:.3g}", f"up to {_MOST_NUMBER:g}, in the robot's units")

    def _refuse(self, what: str, got: object, allowed: object) -> None:
        raise RefusalError("bad_observation", what, got=got, allowed=allowed)
