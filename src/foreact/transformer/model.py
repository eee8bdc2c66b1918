"""The network: video tokens and action tokens, side by side through all layers, to their velocities."""

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_timestep_embedding
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreact.errors import ConfigurationError
from foreact.transformer.attention import JointAttention
from foreact.transformer.block import StreamBlock, TextKeys, modulated_norm
from foreact.transformer.positions import RotaryTable, action_positions, rotary_table, video_positions
from foreact.transformer.tokens import PATCH, StreamInput

WAN_TIMESTEPS = 1000.0
"""Wan counts time from 1000 at noise to 0 at data."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of the network."""

    latent_channels: int = 48
    """Of the video VAE."""
    canvas: tuple[int, int] = (8, 8)
    """Height and width of the latent picture, all cameras laid out."""
    actions_per_latent_frame: int = 16
    """Action tokens per latent frame."""
    action_channels: int = 30
    """Of the universal action space."""
    video_width: int = 3072
    """Of the video stream, and of joint attention."""
    action_width: int = 768
    """Of the action stream."""
    num_layers: int = 30
    """Of both streams."""
    num_heads: int = 24
    """Of joint attention and of either stream's text attention."""
    video_ffn_dim: int = 14336
    """Hidden width of the video stream's feed-forward."""
    action_ffn_dim: int = 1536
    """Hidden width of the action stream's feed-forward."""
    text_dim: int = 4096
    """Of the text encoder."""
    frequency_dim: int = 256
    """Features of the sinusoidal time code."""
    action_projection: Literal["direct", "factorized"] = "direct"
    """How actions reach the joint width; see `JointProjections`. Direct is the default: the heads of both streams
    then live in one space from the first step, since only the input side is interpolated."""
    eps: float = 1e-6
    """Of every norm."""

    def __post_init__(self) -> None:
        for name, width in (("video_width", self.video_width), ("action_width", self.action_width)):
            if width % self.num_heads:
                raise ConfigurationError(name, got=width, allowed=f"a multiple of num_heads ({self.num_heads})")
        if self.head_dim % 2 or self.head_dim < 6:
            raise ConfigurationError("video_width / num_heads", got=self.head_dim, allowed="even, at least 6")
        if self.canvas[0] % PATCH or self.canvas[1] % PATCH:
            raise ConfigurationError("canvas", got=self.canvas, allowed=f"multiples of the patch, {PATCH}")
        if self.action_projection not in ("direct", "factorized"):
            raise ConfigurationError("action_projection", got=self.action_projection, allowed="direct, factorized")

    @property
    def head_dim(self) -> int:
        """Features of a head in joint attention."""
        return self.video_width // self.num_heads

    @property
    def video_tokens(self) -> int:
        """Video tokens per latent frame."""
        return self.canvas[0] * self.canvas[1] // PATCH**2

    @property
    def patch_features(self) -> int:
        """Features of a video token as it enters and leaves the network."""
        return self.latent_channels * PATCH**2


class Stream(nn.Module):
    """Everything one kind of token has to itself: its way in, its layers, its way out."""

    def __init__(self, config: TransformerConfig, *, features: int, width: int, ffn_dim: int, projection: str):
        super().__init__()
        self.config = config
        self.embed = nn.Linear(features, width)
        self.time_in = nn.Linear(config.frequency_dim, width)
        self.time_out = nn.Linear(width, width)
        self.time_projection = nn.Linear(width, 6 * width)
        self.text_in = nn.Linear(config.text_dim, width)
        self.text_out = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            StreamBlock(
                width=width,
                joint_width=config.video_width,
                num_heads=config.num_heads,
                ffn_dim=ffn_dim,
                projection=projection,
                eps=config.eps,
            )
            for _ in range(config.num_layers)
        )
        self.head_table = nn.Parameter(torch.randn(2, width) / width**0.5)
        self.head = nn.Linear(width, features)

    def enter(self, values: Tensor) -> Tensor:
        """Return tokens at the stream's width."""
        return self.embed(values)

    def time(self, flow_time: Float[Tensor, "batch frames"]) -> Tensor:
        """Return the time embedding of each latent frame; Wan's clock is turned round here and nowhere else."""
        timestep = WAN_TIMESTEPS * (1 - flow_time.float())
        code = get_timestep_embedding(
            timestep.flatten(), self.config.frequency_dim, flip_sin_to_cos=True, downscale_freq_shift=0
        )
        code = code.unflatten(0, flow_time.shape).to(self.time_in.weight.dtype)
        return self.time_out(F.silu(self.time_in(code)))

    def read_text(self, tokens: Tensor, bias: Tensor) -> list[TextKeys]:
        """Return every layer's keys and values of an instruction."""
        text = self.text_out(F.gelu(self.text_in(tokens), approximate="tanh"))
        return [block.text.text_keys(text, bias) for block in self.blocks]  # type: ignore[union-attr]

    def leave(self, x: Tensor, time: Tensor) -> Tensor:
        """Return velocities (data - noise); the network below speaks Wan's noise - data."""
        shift, scale = (self.head_table + time.unsqueeze(2)).unsqueeze(2).unbind(3)
        return -self.head(modulated_norm(x, shift, scale, self.config.eps))


class ActionStream(Stream):
    """An action enters through a small MLP, not a single matrix."""

    def __init__(self, config: TransformerConfig, *, features: int, width: int, ffn_dim: int, projection: str):
        super().__init__(config, features=features, width=width, ffn_dim=ffn_dim, projection=projection)
        self.embed_out = nn.Linear(width, width)

    def enter(self, values: Tensor) -> Tensor:
        """Return tokens at the stream's width."""
        return self.embed_out(F.gelu(self.embed(values), approximate="tanh"))


@dataclass(frozen=True)
class TextContext:
    """An instruction, ready for every layer of both streams."""

    video: list[TextKeys]
    action: list[TextKeys]


class WorldActionModel(nn.Module):
    """Mixture-of-Transformers over video and action tokens. Holds weights only: no cache, no mask, no mode.

    Source: LingBot-VA (arXiv 2601.21998), section 3.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.video = Stream(
            config,
            features=config.patch_features,
            width=config.video_width,
            ffn_dim=config.video_ffn_dim,
            projection="direct",
        )
        self.action = ActionStream(
            config,
            features=config.action_channels,
            width=config.action_width,
            ffn_dim=config.action_ffn_dim,
            projection=config.action_projection,
        )

    def video_rotary(self, frames: Tensor, device: torch.device | None = None) -> RotaryTable:
        """Return the rotary table of whole latent frames of video."""
        rows, columns = self.config.canvas[0] // PATCH, self.config.canvas[1] // PATCH
        return rotary_table(video_positions(frames, rows, columns), self.config.head_dim, device)

    def action_rotary(self, frames: Tensor, device: torch.device | None = None) -> RotaryTable:
        """Return the rotary table of the actions leading to these latent frames."""
        positions = action_positions(frames, self.config.actions_per_latent_frame)
        return rotary_table(positions, self.config.head_dim, device)

    def read_text(self, tokens: Float[Tensor, "batch length text_dim"], lengths: Int[Tensor, " batch"]) -> TextContext:
        """Return the instruction as keys and values, to be computed once and used in every step.

        Padding is hidden; of an empty instruction one zero token stays visible.
        """
        shown = lengths.clamp(min=1)
        tokens = tokens[:, : int(shown.max())]
        hidden = torch.arange(tokens.shape[1], device=tokens.device) >= shown[:, None]
        bias = torch.zeros(hidden.shape, dtype=tokens.dtype, device=tokens.device)
        bias = bias.masked_fill(hidden, float("-inf"))[:, None, None]
        return TextContext(self.video.read_text(tokens, bias), self.action.read_text(tokens, bias))

    def forward(
        self,
        video: StreamInput | None,
        action: StreamInput | None,
        text: TextContext,
        attention: JointAttention,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the velocities of both streams' tokens, shaped like their values; None for an absent stream.

        Training and inference both come through here: `attention` alone says who sees whom.
        """
        passes = [
            _StreamPass(stream, given, keys)
            for stream, given, keys in (
                (self.video, video, text.video),
                (self.action, action, text.action),
            )
        ]
        for layer in range(self.config.num_layers):
            projected = [p.project(layer) for p in passes]
            attended = attention(layer, *projected)
            for p, values in zip(passes, attended, strict=True):
                p.update(layer, values)
        return passes[0].velocity(), passes[1].velocity()


class _StreamPass:
    """The tokens of one stream on their way through the layers; does nothing if the stream is absent."""

    def __init__(self, stream: Stream, given: StreamInput | None, text: list[TextKeys]):
        self._stream, self._given, self._text = stream, given, text
        if given is None:
            return
        self._x = stream.enter(given.values)
        self._time = stream.time(given.flow_time)
        six = stream.time_projection(F.silu(self._time)).unflatten(-1, (6, -1))
        self._blocks = cast("list[StreamBlock]", list(stream.blocks))
        self._modulations = [block.modulation(six) for block in self._blocks]

    def project(self, layer: int):
        if self._given is None:
            return None
        return self._blocks[layer].project(self._x, self._modulations[layer], self._given.rotary)

    def update(self, layer: int, attended: Tensor | None) -> None:
        if attended is None:
            return
        block = self._blocks[layer]
        self._x = block.update(self._x, attended, self._modulations[layer], self._text[layer])

    def velocity(self) -> Tensor | None:
        return None if self._given is None else self._stream.leave(self._x, self._time)
