"""What training does to a batch before the network sees it: noise, half-finished history, given actions, dropped text.

Every sample draws from a generator of its own, seeded by (seed, step, index in the global batch): how the global batch
is cut into micro-batches or spread over devices changes nothing.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from foreact.data.batch import Batch
from foreact.errors import ConfigurationError
from foreact.flow.path import point_on_path, shift_flow_time, velocity_of_path
from foreact.transformer.masks import ChunkLayout


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig:
    """How a batch is noised."""

    video_shift: float = 3.0
    """Time shift of video flow times; the sampler at inference uses the same."""
    action_shift: float = 1.0
    """Time shift of action flow times."""
    noisy_history_probability: float = 0.5
    """Of a chunk's clean video being replaced by a half-denoised one (LingBot-VA, section 3)."""
    noisy_history_from: float = 0.5
    """Its flow time is uniform between this and 1."""
    text_dropout: float = 0.1
    """Probability of an empty instruction, for guidance."""
    forward_dynamics_probability: float = 0.0
    """Of a sequence being in forward dynamics mode: given its actions, imagine where they lead. What grounds
    asynchronous control (LingBot-VA, section 3); 0 in pretraining."""
    action_prefix_probability: float = 0.0
    """Of a chunk's first actions being given and only the others to be decoded: those that are executed before the
    chunk arrives. Their number is uniform between 1 and a latent frame's."""
    video_times: tuple[float, ...] = ()
    """Flow times that a solver of the video visits, from 0 to where it stops: a chunk is at one of them, not the last,
    drawn uniformly (distillation). Empty: anywhere between 0 and 1, as `video_shift` says."""
    action_times: tuple[float, ...] = ()
    """Likewise of the actions."""

    def __post_init__(self) -> None:
        for name in (
            "noisy_history_probability",
            "noisy_history_from",
            "text_dropout",
            "forward_dynamics_probability",
            "action_prefix_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(name, got=getattr(self, name), allowed="[0, 1]")
        for name in ("video_shift", "action_shift"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(name, got=getattr(self, name), allowed="above 0")
        for name in ("video_times", "action_times"):
            times = getattr(self, name)
            rises = all(now < after for now, after in itertools.pairwise(times))
            if times and not (len(times) > 1 and times[0] == 0 and rises and times[-1] <= 1):
                raise ConfigurationError(name, got=times, allowed="none, or two or more that rise from 0 to at most 1")


@dataclass(frozen=True, kw_only=True)
class CorruptedStream:
    """One stream as it enters the network, and the velocity it should come out with."""

    noisy: Tensor
    """Frames 1 .. F-1 at `noisy_time`, on the path to the target."""
    noisy_time: Float[Tensor, "batch noisy_frames *noisy_tokens"]
    """With a third axis each token has its own."""
    clean: Tensor
    """Frames 0 .. F-1 as history shows them."""
    clean_time: Float[Tensor, "batch frames"]
    velocity: Tensor
    """Of the noisy frames."""


@dataclass(frozen=True, kw_only=True)
class CorruptedBatch:
    """Both streams, frames on axis 1, and which instructions are dropped."""

    video: CorruptedStream
    action: CorruptedStream
    action_given: Bool[Tensor, "batch noisy_frames tokens"]
    """Actions of the noisy copy that are not noisy, but given as they were executed: nothing is asked of them."""
    text_dropped: Bool[Tensor, " batch"]
    channel_mask: Bool[Tensor, "batch action_channels"]
    """Action channels that each sample's robot has; the others stay zero, as they do in inference."""


def corrupt(
    batch: Batch,
    layout: ChunkLayout,
    config: CorruptionConfig,
    generators: list[torch.Generator],
    *,
    max_frames: int,
    relative_actions: bool = False,
    actions_per_token: int = 1,
) -> CorruptedBatch:
    """Return the batch noised. All chunks of a sequence draw flow times of their own.

    Args:
        batch: Clean.
        layout: How its sequences are cut into chunks.
        config: How much of what.
        generators: One per sample; advanced.
        max_frames: Noise is drawn for so many latent frames and cut to the batch's length: what a sample draws does not
            depend on the length of its neighbours.
        relative_actions: See `TransformerConfig`.
        actions_per_token: Likewise; a prefix ends with a token.
    """
    latents = batch.latents.transpose(1, 2)
    origins = _origins(batch.executed, layout) if relative_actions else torch.zeros(())
    actions, executed = batch.actions - origins, batch.executed - origins
    samples = []
    for index, generator in enumerate(generators):
        draw = _Draw(generator, layout, max_frames)
        video = _noise_targets(latents[index], draw, config.video_shift, config.video_times)
        action = _noise_targets(
            actions[index], draw, config.action_shift, config.action_times, batch.channel_mask[index]
        )
        history, history_time = _noise_history(latents[index], draw, config)
        dropped = torch.rand((), generator=generator) < config.text_dropout
        given = torch.zeros_like(batch.action_valid[index, 1:])
        if layout.forward_dynamics:
            action, given = _give_all(executed[index]), torch.ones_like(given)
        elif config.action_prefix_probability:
            action, given = _give_prefixes(action, executed[index], draw, config, actions_per_token)
        samples.append((*video, history, history_time, *action, given, dropped))
    columns = [torch.stack(column) for column in zip(*samples, strict=True)]
    executed_time = torch.ones(batch.executed.shape[:2])
    return CorruptedBatch(
        video=CorruptedStream(
            noisy=columns[0],
            noisy_time=columns[1],
            velocity=columns[2],
            clean=columns[3],
            clean_time=columns[4],
        ),
        action=CorruptedStream(
            noisy=columns[5],
            noisy_time=columns[6],
            velocity=columns[7],
            clean=batch.executed,
            clean_time=executed_time,
        ),
        action_given=columns[8],
        text_dropped=columns[9],
        channel_mask=batch.channel_mask,
    )


def _origins(executed: Tensor, layout: ChunkLayout) -> Float[Tensor, "batch frames 1 action_channels"]:
    """Return for every latent frame the last action executed before its chunk; zeros for the first frame."""
    origins = torch.zeros_like(executed[:, :, :1])
    for start, stop in layout.chunks[1:]:
        origins[:, start:stop] = executed[:, start - 1, None, -1:]
    return origins


class _Draw:
    """Random numbers of one sample, always drawn for the longest sequence there may be."""

    def __init__(self, generator: torch.Generator, layout: ChunkLayout, max_frames: int):
        self._generator, self._layout, self._max_frames = generator, layout, max_frames

    def uniform(self) -> Float[Tensor, " frames"]:
        """Return one number in [0, 1) per chunk, spread over its latent frames."""
        per_chunk = torch.rand(self._max_frames, generator=self._generator)
        chunks = zip(per_chunk, self._layout.chunks, strict=False)
        return torch.cat([value.expand(stop - start) for value, (start, stop) in chunks])

    def at_chunk_start(self) -> Bool[Tensor, " frames"]:
        """Return which latent frames are the first of their chunk."""
        starts = torch.zeros(self._layout.num_frames, dtype=torch.bool)
        starts[[start for start, _ in self._layout.chunks]] = True
        return starts

    def normal(self, like: Tensor) -> Tensor:
        """Return Gaussian noise for frames [frames, ...]."""
        noise = torch.randn((self._max_frames, *like.shape[1:]), generator=self._generator)
        return noise[: len(like)]


def _noise_targets(
    data: Tensor, draw: _Draw, shift: float, visited: tuple[float, ...], mask: Tensor | float = 1.0
) -> "_Noised":
    """Return frames 1 .. F-1 noised; noise only where `mask` says."""
    place = draw.uniform()[1:]
    times = torch.tensor(visited)[(place * (len(visited) - 1)).long()] if visited else shift_flow_time(place, shift)
    noise = draw.normal(data)[1:] * mask
    return point_on_path(noise, data[1:], times), times, velocity_of_path(noise, data[1:])


_Noised = tuple[Tensor, Tensor, Tensor]
"""Noisy frames 1 .. F-1, their flow times, their velocities."""


def _give_all(executed: Tensor) -> _Noised:
    """Return actions as they were executed, in place of noisy ones."""
    given = executed[1:]
    return given, torch.ones(len(given)), torch.zeros_like(given)


def _give_prefixes(
    noised: _Noised, executed: Tensor, draw: "_Draw", config: CorruptionConfig, per_token: int
) -> tuple[_Noised, Bool[Tensor, "noisy_frames tokens"]]:
    """Return actions to be decoded, the first ones of some chunks given as they were executed, and which are given."""
    noisy, times, velocity = noised
    per_frame = executed.shape[1]
    chosen = draw.uniform() < config.action_prefix_probability
    length = chosen * per_token * (1 + (draw.uniform() * (per_frame // per_token)).long())
    place = torch.arange(per_frame)
    given = draw.at_chunk_start()[1:, None] & (place < length[1:, None])
    mixed = torch.where(given[..., None], executed[1:], noisy)
    return (mixed, times[:, None].masked_fill(given, 1.0), velocity), given


def _noise_history(latents: Tensor, draw: _Draw, config: CorruptionConfig) -> tuple[Tensor, Tensor]:
    """Return (video as history shows it, its flow time); the first observed frame is always clean."""
    replaced = draw.uniform() < config.noisy_history_probability
    level = config.noisy_history_from + (1 - config.noisy_history_from) * draw.uniform()
    times = torch.where(replaced, level, torch.ones(()))
    times[0] = 1.0
    return point_on_path(draw.normal(latents), latents, times), times
