"""A policy's imagination steered by hand, chunk upon chunk from a still picture: no simulator, nothing is looked at."""

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import torch
from av.error import FFmpegError
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError

from foreact.codecs.pixels import rgb_from_image
from foreact.errors import InputError
from foreact.evaluation.dream import check_imagines
from foreact.evaluation.modes import check_answers_all
from foreact.policy.policy import Policy
from foreact.policy.rollout import Prediction
from foreact.policy.viewer import Frames, LatentViewer

LONGEST_FILM_S = 20.0
"""Of a film whose arms are asked for; what comes after it is left out."""
MOST_PIXELS = 4096 * 4096
"""Of a picture or a film's frame that somebody gives."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DreamStart:
    """What a dream begins with."""

    images: Frames
    """One frame of each camera, uint8 [1, height, width, 3], of any size."""
    state: Float[np.ndarray, " state"]
    """Where the robot stands in the picture, its own units."""
    instruction: str
    """What the robot is to do, in words."""


class SteeredDream:
    """One dream. Its frames and actions grow by a chunk with each call; nothing is ever observed after the start."""

    def __init__(self, policy: Policy, start: DreamStart, *, seed: int = 0):
        """Take in the first picture.

        Args:
            policy: One that imagines.
            start: Picture, state and instruction.
            seed: Of the noise; another seed dreams another future.

        Raises:
            ConfigurationError: The policy does not imagine.
            InputError: As `Policy.observe_first`.
        """
        check_imagines(policy)
        self.start = start
        self._policy, self._session = policy, policy.start(start.instruction, seed=seed)
        policy.observe_first(self._session, start.images, start.state)
        self._viewer = LatentViewer(policy.networks.vae, policy.embodiment.layout)
        if self._session.observed is not None:
            self._viewer.show(self._session.observed)
        self.frames: Frames = dict(policy.embodiment.layout.pictures(start.images))
        """What the cameras would see, the given picture first: uint8 [time, height, width, 3], as the policy sees."""
        self.actions = np.zeros((0, policy.embodiment.num_dofs), np.float32)
        """float32 [time, dofs], the robot's own units; those of one latent frame after the other."""
        self._standstill = policy.embodiment.hold_action(start.state).astype(np.float32)

    @property
    def pose(self) -> Float[np.ndarray, " dofs"]:
        """The last action: where the arms are at the end of what was dreamed."""
        return self.actions[-1] if len(self.actions) else self._standstill

    def let_policy_decide(self) -> None:
        """Dream one chunk on: the policy imagines it and decodes the actions that lead there."""
        chunk = self._policy.predict(self._session)
        self._accept(chunk.actions)

    def move_arms(self, target: Float[np.ndarray, " dofs"]) -> None:
        """Dream one chunk on in which the arms move evenly to a pose: forward dynamics.

        Args:
            target: An action, the robot's own units; kept within the robot's limits.

        Raises:
            ConfigurationError: The policy was not trained for forward dynamics.
            InputError: The pose is not one number for each degree of freedom.
        """
        robot, num_actions = self._policy.embodiment, self._policy.actions_per_chunk
        if np.shape(target) != (robot.num_dofs,):
            raise InputError("pose of the arms", got=f"shape {np.shape(target)}", allowed=f"{robot.num_dofs} numbers")
        goal = robot.clip_actions(np.asarray(target, np.float32))
        actions = np.linspace(self.pose, goal, num_actions + 1, dtype=np.float32)[1:]
        latents = self._policy.foresee(self._session, actions)
        universal = torch.from_numpy(self._policy.codec.encode(actions, self._session.initial_pose))
        per_frame = robot.timing.actions_per_latent_frame
        self._session.prediction = Prediction(latents=latents, actions=universal.unflatten(0, (-1, per_frame)))
        self._accept(actions)

    def _accept(self, actions: np.ndarray) -> None:
        """Take what was imagined for what happened, and decode its pictures."""
        prediction = self._session.prediction
        assert prediction is not None and prediction.latents is not None
        self._policy.accept_imagined(self._session)
        new = self._viewer.show(prediction.latents)
        self.frames = {camera: np.concatenate([clip, new[camera]]) for camera, clip in self.frames.items()}
        self.actions = np.concatenate([self.actions, actions])


def infer_arms(
    policy: Policy, film: Frames, state: Float[np.ndarray, " state"], instruction: str, *, seed: int = 0
) -> Float[np.ndarray, "time dofs"]:
    """Return the actions that lead through a film, chunk upon chunk (inverse dynamics).

    Args:
        policy: One that can be asked for them.
        film: Per camera uint8 [time, height, width, 3] at the policy's camera rate. Frames that make no whole latent
            frame at the end are left out.
        state: Where the robot stands in the first frame.
        instruction: What is being done in it.
        seed: Of the noise.

    Raises:
        ConfigurationError: The policy cannot be asked all four questions (`foreact modes`).
        InputError: The film is too short, or a camera's is missing.
    """
    check_answers_all(policy)
    timing = policy.embodiment.timing
    count = min(len(clip) for clip in film.values()) if film else 0
    if count < 1 + timing.vae_factor:
        raise InputError("film", got=f"{count} frames", allowed=f"{1 + timing.vae_factor} or more")
    session = policy.start(instruction, seed=seed)
    policy.observe_first(session, {camera: clip[:1] for camera, clip in film.items()}, state)
    per_chunk, actions = policy.config.latent_frames_per_chunk * timing.vae_factor, []
    stop = 1 + (count - 1) // timing.vae_factor * timing.vae_factor
    for begin in range(1, stop, per_chunk):
        clip = {camera: frames[begin : min(begin + per_chunk, stop)] for camera, frames in film.items()}
        actions.append(policy.infer_actions(session, clip))
        policy.observe(session, clip, actions[-1])
    return np.concatenate(actions)


def picture_from_bytes(content: bytes) -> np.ndarray:
    """Return a PNG or JPEG as one RGB frame, uint8 [1, height, width, 3].

    Raises:
        InputError: It is none, or larger than `MOST_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise InputError("picture", got=f"{picture.width} x {picture.height}", allowed="4096 x 4096 pixels")
            return rgb_from_image(ImageOps.exif_transpose(picture))[None]
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError("picture", got=error, allowed="a PNG or JPEG") from error


def film_from_bytes(content: bytes, camera_hz: float) -> np.ndarray:
    """Return a film's frames at the camera rate, uint8 [time, height, width, 3]: each the last one shown by then.

    Raises:
        InputError: It is no film, or its frames are larger than `MOST_PIXELS`.
    """
    wanted, frames = Fraction(0), []
    period, last, begin_s, time_s = 1 / Fraction(camera_hz), None, None, Fraction(0)
    try:
        with av.open(io.BytesIO(content), mode="r") as film:
            for frame in film.decode(video=0):
                if frame.width * frame.height > MOST_PIXELS:
                    raise InputError("film", got=f"{frame.width} x {frame.height}", allowed="4096 x 4096 pixels")
                shown_s = Fraction(frame.pts or 0) * Fraction(frame.time_base or 1)
                begin_s = shown_s if begin_s is None else begin_s
                time_s = shown_s - begin_s
                while last is not None and wanted < time_s and wanted <= LONGEST_FILM_S:
                    frames.append(last)
                    wanted += period
                if wanted > LONGEST_FILM_S:
                    break
                last = frame.to_ndarray(format="rgb24")
    except (FFmpegError, IndexError, ValueError) as error:
        raise InputError("film", got=error, allowed="a film such as mp4") from error
    if last is None:
        raise InputError("film", got="no frame", allowed="a film such as mp4")
    return np.stack([*frames, last] if wanted <= time_s else frames)
