"""How a chunk is computed: what may be chosen at run time, joined with what the network was trained for.

A recipe holds the choices alone (`InferenceChoices`), since training decides the rest; a policy holds both, checked
against each other (`InferenceConfig`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from typing import Any

from foreact.errors import ConfigurationError
from foreact.flow.solver import euler_times
from foreact.policy.trained import TrainedFor
from foreact.settings import from_plain
from foreact.transformer.model import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class InferenceChoices:
    """What may be chosen at run time, for any trained network."""

    latent_frames_per_chunk: int = 4
    """K: latent frames imagined, and actions decoded, at once; at most the largest chunk of training."""
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
    asynchronous: bool = False
    """A chunk may be asked for while actions are under way: makes room in the cache for a chunk of them."""
    disagreement_threshold: float | None = None
    """Distance of observed from imagined latents above which an asynchronous controller waits to see (`foreact
    calibrate`); None: never."""
    video_steps_executed: int | None = None
    """Take only the first so many of the video's steps, and let the actions read what the last of them saw. None:
    all of them, spaced anew up to `s_stop`."""

    def __post_init__(self) -> None:
        if self.action_steps < 1:
            raise ConfigurationError("action_steps", got=self.action_steps, allowed="1 or more")
        for name in ("video_guidance", "action_guidance"):
            if not isfinite(getattr(self, name)):
                raise ConfigurationError(name, got=getattr(self, name), allowed="a finite number; 1 is none")
        threshold = self.disagreement_threshold
        if threshold is not None and not (isfinite(threshold) and threshold >= 0):
            raise ConfigurationError("disagreement_threshold", got=threshold, allowed="0 or more, or none")
        self._check_steps_executed()
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


@dataclass(frozen=True, kw_only=True)
class InferenceConfig(InferenceChoices):
    """How a chunk is computed by a particular network: the choices, and what the network was trained for."""

    trained: TrainedFor = field(default_factory=TrainedFor)
    """What the network was trained for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        trained, chunk = self.trained, self.latent_frames_per_chunk
        euler_times(self.action_steps, shift=trained.action_shift)
        if trained.imagines:
            euler_times(self.video_steps, shift=trained.video_shift, stop=self.s_stop)
        if trained.first_frame == "chunk" and chunk < 2:
            raise ConfigurationError("latent_frames_per_chunk with first_frame 'chunk'", got=chunk, allowed="2 or more")
        if trained.largest_chunk is not None and chunk > trained.largest_chunk:
            raise ConfigurationError(
                "latent_frames_per_chunk with largest_chunk of training",
                got=f"{chunk} with {trained.largest_chunk}",
                allowed=f"1 to {trained.largest_chunk}",
                cure="choose fewer latent frames per chunk, or train with a larger batch.max_chunk",
            )

    @classmethod
    def join(cls, choices: InferenceChoices, trained: TrainedFor) -> "InferenceConfig":
        """Return the choices for a network that was trained for this.

        Raises:
            ConfigurationError: The network was not trained for what is chosen.
        """
        return cls(**{name: getattr(choices, name) for name in CHOICES}, trained=trained)

    @property
    def choices(self) -> InferenceChoices:
        """What of this may be chosen at run time."""
        return InferenceChoices(**{name: getattr(self, name) for name in CHOICES})

    @property
    def video_times(self) -> list[float]:
        """Flow times that the video visits, from 0 on."""
        times = euler_times(self.video_steps, shift=self.trained.video_shift, stop=self.s_stop)
        return times if self.video_steps_executed is None else times[: self.video_steps_executed + 1]

    @property
    def action_times(self) -> list[float]:
        """Flow times that the actions visit, from 0 to 1."""
        return euler_times(self.action_steps, shift=self.trained.action_shift)

    @property
    def scratch_frames(self) -> int:
        """Latent frames imagined at once, and as many that actions under way may push out of the window for a while."""
        return self.latent_frames_per_chunk * (2 if self.asynchronous else 1)

    @property
    def cache_frames(self) -> int:
        """Latent frames that a cache has room for: the window, and scratch space next to it."""
        return self.window + self.scratch_frames

    def as_driven(self) -> "InferenceConfig":
        """Return the settings under which the largest cache is made: with room for actions under way, if it learned to.

        A policy that was trained for forward dynamics is driven asynchronously by default, and its controllers make
        that room (`controllers.with_room`) however it was stored.
        """
        return replace(self, asynchronous=self.asynchronous or self.trained.forward_dynamics)

    @property
    def rows(self) -> int:
        """Rows in the cache: a second, unconditional one if either stream is guided."""
        return 2 if self.video_guidance != 1 or self.action_guidance != 1 else 1


CHOICES: tuple[str, ...] = tuple(setting.name for setting in fields(InferenceChoices))
"""Names of the settings that may be chosen at run time."""


def inference_from_plain(data: Any) -> InferenceConfig:
    """Return the settings of a flat table, in which choices and facts of training are together.

    Policies of the first format and the settings of published weights are written so.

    Raises:
        ConfigurationError: `data` is no table, or a setting is unknown, of another type, or does not go with others.
    """
    if not isinstance(data, Mapping):
        raise ConfigurationError("settings of inference", got=repr(data), allowed="a table of names and values")
    learned = {setting.name for setting in fields(TrainedFor)}
    chosen = {name: value for name, value in data.items() if name not in learned}
    trained = {name: value for name, value in data.items() if name in learned}
    return InferenceConfig.join(
        from_plain(InferenceChoices, chosen, "inference"), from_plain(TrainedFor, trained, "inference")
    )


def cache_numbers(sizes: TransformerConfig, config: InferenceConfig) -> int:
    """Return how many numbers one cache holds: a key and a value of the joint width per layer, row and token."""
    tokens = config.cache_frames * (sizes.video_tokens + sizes.action_tokens)
    return 2 * sizes.num_layers * config.rows * tokens * sizes.video_width
