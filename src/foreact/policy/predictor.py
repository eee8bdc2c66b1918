"""Imagine, then act, in model units: latents and normalised actions, no cameras and no robot.

Observed latent frames and executed actions go into the cache; a chunk of video is
integrated from noise to `s_stop`; its keys and values stay in the cache's scratch space; the chunk of actions is
integrated from noise to 1 while it sees them; then the imagined entries are dropped.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from foreact.codecs.text import TextEmbedding
from foreact.errors import ConfigurationError
from foreact.flow.guidance import guide
from foreact.flow.solver import euler_times, integrate
from foreact.trace import Trace
from foreact.transformer.attention import CachedAttention
from foreact.transformer.cache import KVCache
from foreact.transformer.model import TextContext, WorldActionModel
from foreact.transformer.positions import RotaryTable
from foreact.transformer.tokens import StreamInput, patchify, unpatchify

Stream = Literal["video", "action"]


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

    def __post_init__(self) -> None:
        euler_times(self.action_steps, shift=self.action_shift)
        if self.imagines:
            euler_times(self.video_steps, shift=self.video_shift, stop=self.s_stop)
        if self.latent_frames_per_chunk < 1 or self.window < 1:
            raise ConfigurationError(
                "chunk and window",
                got=f"{self.latent_frames_per_chunk} and {self.window} latent frames",
                allowed="1 or more",
            )

    @property
    def rows(self) -> int:
        """Rows in the cache: a second, unconditional one if either stream is guided."""
        return 2 if self.video_guidance != 1 or self.action_guidance != 1 else 1


@dataclass(kw_only=True)
class Rollout:
    """What one rollout owns: its cache, its instruction, its noise. The network owns nothing of it."""

    cache: KVCache
    text: TextContext
    """Conditional in row 0, unconditional in row 1 if there is one."""
    conditional: TextContext
    """Row 0 alone."""
    generator: torch.Generator
    trace: Trace = field(default_factory=Trace)

    @property
    def next_frame(self) -> int:
        """Number of the first latent frame that has not been observed."""
        return self.cache.num_observed


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One chunk, in model units."""

    latents: Float[Tensor, "channels frames height width"] | None
    """Best guess of the clean future: where the last velocity leads at flow time 1. None if nothing was imagined."""
    actions: Float[Tensor, "frames actions action_channels"]


class Predictor:
    """The network with a way to run it chunk by chunk."""

    def __init__(self, model: WorldActionModel, config: InferenceConfig, channel_mask: Tensor):
        """Keep the network; change nothing in it.

        Args:
            model: In evaluation mode.
            config: How chunks are computed.
            channel_mask: bool [action_channels]; the other channels are kept at zero, as in training.
        """
        self.model = model
        self.config = config
        self.channel_mask = channel_mask.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @torch.no_grad()
    def start(self, instruction: TextEmbedding, empty: TextEmbedding, *, seed: int) -> Rollout:
        """Return a rollout that has seen nothing yet.

        Args:
            instruction: One embedded instruction.
            empty: The empty instruction, for guidance.
            seed: Of all its noise.
        """
        sizes, rows = self.model.config, self.config.rows
        cache = KVCache(
            num_layers=sizes.num_layers,
            batch=rows,
            num_heads=sizes.num_heads,
            head_dim=sizes.head_dim,
            window=self.config.window,
            video_tokens=sizes.video_tokens,
            action_tokens=sizes.actions_per_latent_frame,
            scratch_frames=self.config.latent_frames_per_chunk,
            device=self.device,
            dtype=self._dtype,
        )
        conditional = self._read_text([instruction])
        text = conditional if rows == 1 else self._read_text([instruction, empty])
        return Rollout(cache=cache, text=text, conditional=conditional, generator=torch.Generator().manual_seed(seed))

    def _read_text(self, embeddings: list[TextEmbedding]) -> TextContext:
        longest = max(e.tokens.shape[1] for e in embeddings)
        padded = [torch.nn.functional.pad(e.tokens, (0, 0, 0, longest - e.tokens.shape[1])) for e in embeddings]
        tokens = torch.cat(padded).to(self.device, self._dtype)
        return self.model.read_text(tokens, torch.cat([e.lengths for e in embeddings]).to(self.device))

    @torch.no_grad()
    def append_observed(
        self,
        rollout: Rollout,
        latents: Float[Tensor, "channels frames height width"],
        actions: Float[Tensor, "frames actions action_channels"],
    ) -> None:
        """Put what was seen, and the actions executed on the way, into the cache; drop what was imagined."""
        rollout.cache.drop_imagined()
        rows, num_frames = self.config.rows, latents.shape[1]
        patches = patchify(latents[None].to(self.device))
        video = self._stream_input(patches, 1.0, rows, self._rotary("video", rollout, num_frames))
        executed = actions[None].to(self.device)
        action = self._stream_input(executed, 1.0, rows, self._rotary("action", rollout, num_frames))
        with rollout.trace.span("append"):
            self.model(video, action, rollout.text, CachedAttention(rollout.cache))
        rollout.cache.append_observed(num_frames)

    @torch.no_grad()
    def predict(self, rollout: Rollout) -> Prediction:
        """Return the next chunk; the cache is left with nothing imagined."""
        latents = None
        if self.config.imagines:
            with rollout.trace.span("imagine"):
                latents = self._imagine(rollout)
        with rollout.trace.span("decode_actions"):
            actions = self._decode_actions(rollout)
        rollout.cache.drop_imagined()
        return Prediction(latents=latents, actions=actions)

    def _imagine(self, rollout: Rollout) -> Tensor:
        """Return the guess of the clean video; leave the keys and values of the half-finished one in the cache."""
        config, sizes = self.config, self.model.config
        shape = (1, config.latent_frames_per_chunk, sizes.video_tokens, sizes.patch_features)
        times = euler_times(config.video_steps, shift=config.video_shift, stop=config.s_stop)
        rotary = self._rotary("video", rollout, config.latent_frames_per_chunk)
        last: dict[str, Tensor] = {}

        def velocity(point: Tensor, flow_time: float) -> Tensor:
            guided = self._velocity("video", rollout, point, flow_time, config.video_guidance, rotary)
            last["guess"] = point + (1 - flow_time) * guided
            return guided

        point = integrate(velocity, self._noise(shape, rollout), times)
        final = self._stream_input(point, config.s_stop, config.rows, rotary)
        self.model(final, None, rollout.text, CachedAttention(rollout.cache))
        rollout.cache.append_imagined(shape[1] * shape[2])
        guess = last.get("guess", point)
        return unpatchify(guess, *sizes.canvas)[0].float().cpu()

    def _decode_actions(self, rollout: Rollout) -> Tensor:
        """Return the actions that lead through what the cache shows."""
        config, sizes = self.config, self.model.config
        shape = (1, config.latent_frames_per_chunk, sizes.actions_per_latent_frame, sizes.action_channels)
        times = euler_times(config.action_steps, shift=config.action_shift)
        rotary = self._rotary("action", rollout, config.latent_frames_per_chunk)

        def velocity(point: Tensor, flow_time: float) -> Tensor:
            guided = self._velocity("action", rollout, point, flow_time, config.action_guidance, rotary)
            return guided * self.channel_mask

        noise = self._noise(shape, rollout) * self.channel_mask
        return integrate(velocity, noise, times)[0].float().cpu()

    def _velocity(
        self, kind: Stream, rollout: Rollout, point: Tensor, flow_time: float, scale: float, rotary: RotaryTable
    ) -> Tensor:
        """Return the (guided) velocity of the chunk at `point`; an unguided stream runs the conditional row alone."""
        rows = 1 if scale == 1 else 2
        given = self._stream_input(point, flow_time, rows, rotary)
        text = rollout.conditional if rows == 1 else rollout.text
        inputs = (given, None) if kind == "video" else (None, given)
        velocity = self.model(*inputs, text, CachedAttention(rollout.cache))[0 if kind == "video" else 1]
        return velocity if rows == 1 else guide(velocity[:1], velocity[1:], scale)

    def _stream_input(self, values: Tensor, flow_time: float, rows: int, rotary: RotaryTable) -> StreamInput:
        return StreamInput(
            values=values.to(self._dtype).expand(rows, -1, -1, -1),
            flow_time=torch.full((rows, 1), flow_time, device=self.device),
            rotary=rotary,
        )

    def _rotary(self, kind: Stream, rollout: Rollout, num_frames: int) -> RotaryTable:
        """Return the positions of the next `num_frames` latent frames: the same in every step of a chunk."""
        frames = rollout.next_frame + torch.arange(num_frames)
        table = self.model.video_rotary if kind == "video" else self.model.action_rotary
        return table(frames, self.device)

    def _noise(self, shape: tuple[int, ...], rollout: Rollout) -> Tensor:
        return torch.randn(shape, generator=rollout.generator).to(self.device, self._dtype)
