"""The one timing object: every rate and count follows from four numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from foreact.errors import ConfigurationError
from foreact.settings import from_plain, to_plain


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How actions, camera frames and latent frames interleave.

    Row t of an episode holds the observation before action t. Camera frame j is row `camera_stride * j`.
    Latent frame 0 is camera frame 0; latent frame f >= 1 is the `vae_factor` camera frames up to and with
    frame `vae_factor * f`.
    """

    action_hz: float = 50.0
    """Actions executed per second."""
    camera_stride: int = 4
    """Actions per camera frame."""
    vae_factor: int = 4
    """Camera frames per latent frame (the video VAE's compression in time)."""
    latent_frames_per_chunk: int = 4
    """Latent frames imagined at once at inference (K)."""

    def __post_init__(self) -> None:
        for name in ("action_hz", "camera_stride", "vae_factor", "latent_frames_per_chunk"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ConfigurationError(f"Timing.{name}", got=value, allowed="more than 0")

    @classmethod
    def from_rates(
        cls, action_hz: float, camera_hz: float, *, vae_factor: int = 4, latent_frames_per_chunk: int = 4
    ) -> "Timing":
        """The timing in which a camera frame falls on every n-th action.

        Raises:
            ConfigurationError: The action rate is no whole multiple of the camera rate.
        """
        if not (np.isfinite([action_hz, camera_hz]).all() and action_hz > 0 and camera_hz > 0):
            raise ConfigurationError("rates", got=f"{action_hz} and {camera_hz} Hz", allowed="more than 0 Hz")
        stride = action_hz / camera_hz
        if stride < 1 - 1e-6 or abs(stride - round(stride)) > 1e-6:
            below = max(1, int(stride))
            rates = ", ".join(f"{action_hz / n:g} Hz" for n in (below, below + 1))
            raise ConfigurationError(
                f"camera rate with {action_hz:g} actions a second",
                got=f"{camera_hz:g} Hz",
                allowed=f"{action_hz:g} Hz divided by a whole number",
                cure=f"nearest that fit: {rates}",
            )
        return cls(
            action_hz=action_hz,
            camera_stride=round(stride),
            vae_factor=vae_factor,
            latent_frames_per_chunk=latent_frames_per_chunk,
        )

    @property
    def camera_hz(self) -> float:
        """Camera frames per second."""
        return self.action_hz / self.camera_stride

    @property
    def latent_hz(self) -> float:
        """Latent frames per second."""
        return self.camera_hz / self.vae_factor

    @property
    def actions_per_latent_frame(self) -> int:
        """Actions that lead from one latent frame to the next."""
        return self.camera_stride * self.vae_factor

    @property
    def actions_per_chunk(self) -> int:
        """Actions decoded with one chunk at inference."""
        return self.latent_frames_per_chunk * self.actions_per_latent_frame

    @property
    def camera_frames_per_chunk(self) -> int:
        """Camera frames seen while one chunk is executed."""
        return self.latent_frames_per_chunk * self.vae_factor

    @property
    def chunk_s(self) -> float:
        """Seconds that executing one chunk takes."""
        return self.actions_per_chunk / self.action_hz

    def num_latent_frames(self, num_camera_frames: int) -> int:
        """Latent frames of a clip that begins with its first camera frame.

        Raises:
            ConfigurationError: The last camera frames do not fill a latent frame.
        """
        whole, left_over = divmod(num_camera_frames - 1, self.vae_factor)
        if num_camera_frames < 1 or left_over:
            fitting = sorted({self.num_camera_frames(max(1, whole + n)) for n in (1, 2)})
            raise ConfigurationError(
                "number of camera frames",
                got=num_camera_frames,
                allowed=f"1 + a multiple of {self.vae_factor}",
                cure=f"use {' or '.join(map(str, fitting))}",
            )
        return 1 + whole

    def num_camera_frames(self, num_latent_frames: int) -> int:
        """Camera frames that a clip of so many latent frames covers."""
        if num_latent_frames < 1:
            raise ConfigurationError("number of latent frames", got=num_latent_frames, allowed="1 or more")
        return 1 + (num_latent_frames - 1) * self.vae_factor

    def latent_frames_in_episode(self, num_rows: int) -> int:
        """Latent frames that cover an episode; the last may reach past its end, where the tail is padded."""
        if num_rows < 1:
            raise ConfigurationError("number of rows in an episode", got=num_rows, allowed="1 or more")
        return 1 + -(-(num_rows - 1) // self.actions_per_latent_frame)

    def camera_rows(self, num_latent_frames: int) -> Int[np.ndarray, " camera_frames"]:
        """Rows of the camera frames of so many latent frames; the last may lie past the episode's end."""
        return self.camera_stride * np.arange(self.num_camera_frames(num_latent_frames))

    def action_rows(self, latent_frame: int) -> range:
        """Rows of the actions that lead to this latent frame; none lead to latent frame 0."""
        if latent_frame < 0:
            raise ConfigurationError("latent frame", got=latent_frame, allowed="0 or more")
        if latent_frame == 0:
            return range(0)
        return range((latent_frame - 1) * self.actions_per_latent_frame, latent_frame * self.actions_per_latent_frame)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, data: Any) -> "Timing":
        """The inverse of `to_dict`; unknown keys are errors."""
        return from_plain(cls, data, "timing")
