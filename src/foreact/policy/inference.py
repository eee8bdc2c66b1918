"""How a chunk is computed: the settings of inference, and what they make a cache cost."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Literal

from foreact.errors import ConfigurationError
from foreact.flow.solver import euler_times
from foreact.transformer.model import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """How a chunk is computed."""

    latent_frames_per_chunk: int = 4
    """K: latent frames imagined, and actions decoded, at once."""
    window: int = 64
    """Latent frames of history in the cache."""
    video_steps: int = 5
    """Denoising steps of the video chunk."""
    s_stop: float = 1.0
    """Flow time at which imagining stops; below 1 the actions read a half-finished video."""
    action_steps: int = 10
    """Denoising steps of the action chunk."""
    video_guidance: float = 1.0
    """Guidance scale of the video stream; 1 is none, and costs half."""
    action_guidance: float = 1.0
    """Guidance scale of the action stream."""
    video_shift: float = 3.0
    """Time shift of the video's steps; as in training."""
    action_shift: float = 1.0
    """Time shift of the actions' steps; as in training."""
    imagines: bool = True
    """False for a reactive policy: actions come straight from the history."""
    first_frame: Literal["history", "chunk"] = "history"
    """Where the first observed latent frame stands, as in training: in the cache by itself, or at the head of the
    first chunk, which then imagines one latent frame less (the published weights)."""
    asynchronous: bool = False
    """A chunk may be asked for while actions are under way: makes room in the cache for a chunk of them."""
    forward_dynamics: bool = False
    """The network was trained to imagine where given actions lead."""
    action_prefixes: bool = False
    """The network was trained to go on from actions that are decided already."""
    disagreement_threshold: float | None = None
    """Distance of observed from imagined latents above which an asynchronous controller waits to see (`foreact
    calibrate`); None: never."""
    few_steps: bool = False
    """The network was distilled (`foreact distill`): one step leads from noise to the end, and the schedules `one` and
    `two` may be used."""
    video_steps_executed: int | None = None
    """Take only the first so many of the video's steps, and let the actions read what the last of them saw. None:
    all of them, spaced anew up to `s_stop`."""

    def __post_init__(self) -> None:
        if self.action_steps < 1:
            raise ConfigurationError("action_steps", got=self.action_steps, allowed="1 or more")
        for name in ("video_guidance", "action_guidance"):
            if not isfinite(getattr(self, name)):
                raise ConfigurationError(name, got=getattr(self, name), allowed="a finite number; 1 is none")
        euler_times(self.action_steps, shift=self.action_shift)
        if self.imagines:
            euler_times(self.video_steps, shift=self.video_shift, stop=self.s_stop)
        if self.first_frame not in ("history", "chunk"):
            raise ConfigurationError("first_frame", got=self.first_frame, allowed="history, chunk")
        if self.first_frame == "chunk" and self.latent_frames_per_chunk < 2:
            raise ConfigurationError(
                "latent_frames_per_chunk with first_frame 'chunk'",
                got=self.latent_frames_per_chunk,
                allowed="2 or more",
            )
        threshold = self.disagreement_threshold
        if threshold is not None and not (isfinite(threshold) and threshold >= 0):
            raise ConfigurationError("disagreement_threshold", got=threshold, allowed="0 or more, or none")
        self._check_steps_executed()
        if self.forward_dynamics and (not self.imagines or self.first_frame == "chunk"):
            raise ConfigurationError(
                "forward_dynamics",
                got=f"imagines {self.imagines}, first_frame {self.first_frame!r}",
                allowed="a policy that imagines, its first frame in the history",
            )
        if self.latent_frames_per_chunk < 1 or self.window < 1:
            raise ConfigurationError(
                "chunk and window",
                got=f"{self.latent_frames_per_chunk} and {self.window} latent frames",
                allowed="1 or more",
            )

    def _check_steps_executed(self) -> None:
        executed = self.video_steps_executed
        if executed is None:
            return
        if not 1 <= executed <= self.video_steps:
            allowed = f"1 to video_steps ({self.video_steps}), or none"
            raise ConfigurationError("video_steps_executed", got=executed, allowed=allowed)
        if self.s_stop != 1:
            raise ConfigurationError(
                "video_steps_executed beside s_stop", got=f"{executed} and {self.s_stop}", allowed="one of the two"
            )

    @property
    def video_times(self) -> list[float]:
        """Flow times that the video visits, from 0 on."""
        times = euler_times(self.video_steps, shift=self.video_shift, stop=self.s_stop)
        return times if self.video_steps_executed is None else times[: self.video_steps_executed + 1]

    @property
    def action_times(self) -> list[float]:
        """Flow times that the actions visit, from 0 to 1."""
        return euler_times(self.action_steps, shift=self.action_shift)

    @property
    def scratch_frames(self) -> int:
        """Latent frames imagined at once, and as many that actions under way may push out of the window for a while."""
        return self.latent_frames_per_chunk * (2 if self.asynchronous else 1)

    @property
    def cache_frames(self) -> int:
        """Latent frames that a cache has room for: the window, and scratch space beside it."""
        return self.window + self.scratch_frames

    def as_driven(self) -> "InferenceConfig":
        """Return the settings under which the largest cache is made: with room for actions under way, if it learned to.

        A policy that was trained for forward dynamics is driven asynchronously by default, and its controllers make
        that room (`controllers.with_room`) however it was stored.
        """
        return replace(self, asynchronous=self.asynchronous or self.forward_dynamics)

    @property
    def rows(self) -> int:
        """Rows in the cache: a second, unconditional one if either stream is guided."""
        return 2 if self.video_guidance != 1 or self.action_guidance != 1 else 1


def cache_numbers(sizes: TransformerConfig, config: InferenceConfig) -> int:
    """Return how many numbers one cache holds: a key and a value of the joint width per layer, row and token."""
    tokens = config.cache_frames * (sizes.video_tokens + sizes.action_tokens)
    return 2 * sizes.num_layers * config.rows * tokens * sizes.video_width
