"""The network: video tokens and action tokens, side by side through all layers, to their velocities."""

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from foreact.errors import ConfigurationError
from foreact.from_diffusers import get_timestep_embedding
from foreact.transformer.attention import JointAttention, Projected
from foreact.transformer.block import Modulation, StreamBlock, TextKeys, modulated_norm
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
    patch_size: int = PATCH
    """Side of the square of latent positions that is one video token: 2 in Wan's and all published weights."""
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
    backbone: Literal["separate", "shared"] = "separate"
    """Whether the action stream has layers of its own (the paper's Mixture-of-Transformers) or runs through the video
    stream's (the published weights)."""
    action_embedding: Literal["mlp", "linear"] = "mlp"
    """How an action enters its stream: through a small MLP (the paper), or a single matrix (the published weights)."""
    text_length: int = 0
    """Instructions are padded to so many tokens with zeros that are read like words (Wan's and the published weights:
    512). 0: padding is hidden."""
    eps: float = 1e-6
    """Of every norm."""

    def __post_init__(self) -> None:
        for name in ("num_heads", "num_layers", "video_width", "action_width", "video_ffn_dim", "action_ffn_dim"):
            if getattr(self, name) < 1:
                raise ConfigurationError(name, got=getattr(self, name), allowed="1 or more")
        for name, width in (("video_width", self.video_width), ("action_width", self.action_width)):
            if width % self.num_heads:
                raise ConfigurationError(name, got=width, allowed=f"a multiple of num_heads ({self.num_heads})")
        if self.head_dim % 2 or self.head_dim < 6:
            raise ConfigurationError("video_width / num_heads", got=self.head_dim, allowed="even, at least 6")
        if self.patch_size < 1 or self.canvas[0] % self.patch_size or self.canvas[1] % self.patch_size:
            raise ConfigurationError("canvas", got=self.canvas, allowed=f"multiples of patch_size, {self.patch_size}")
        if self.action_projection not in ("direct", "factorized"):
            raise ConfigurationError("action_projection", got=self.action_projection, allowed="direct, factorized")
        if self.action_embedding not in ("mlp", "linear"):
            raise ConfigurationError("action_embedding", got=self.action_embedding, allowed="mlp, linear")
        if self.text_length < 0:
            raise ConfigurationError("text_length", got=self.text_length, allowed="0 (padding hidden) or more")
        self._check_backbone()

    def _check_backbone(self) -> None:
        if self.backbone not in ("separate", "shared"):
            raise ConfigurationError("backbone", got=self.backbone, allowed="separate, shared")
        action = (self.action_width, self.action_ffn_dim, self.action_projection, self.action_embedding)
        video = (self.video_width, self.video_ffn_dim, "direct", "linear")
        if self.is_shared and action != video:
            raise ConfigurationError(
                "action width, feed-forward, projection and embedding of a shared backbone", got=action, allowed=video
            )

    @property
    def is_shared(self) -> bool:
        """Whether both kinds of token run through the same layers."""
        return self.backbone == "shared"

    @property
    def head_dim(self) -> int:
        """Features of a head in joint attention."""
        return self.video_width // self.num_heads

    @property
    def video_tokens(self) -> int:
        """Video tokens per latent frame."""
        return self.canvas[0] * self.canvas[1] // self.patch_size**2

    @property
    def patch_features(self) -> int:
        """Features of a video token as it enters and leaves the network."""
        return self.latent_channels * self.patch_size**2


class StreamEnds(nn.Module):
    """What each kind of token has to itself even where the layers are shared: its way in, its clock, its way out."""

    def __init__(self, config: TransformerConfig, *, features: int, width: int, embedding: str = "linear"):
        super().__init__()
        self.config = config
        self.embed = nn.Linear(features, width)
        if embedding == "mlp":
            self.embed_out = nn.Linear(width, width)
        self.time_in = nn.Linear(config.frequency_dim, width)
        self.time_out = nn.Linear(width, width)
        self.time_projection = nn.Linear(width, 6 * width)
        self.head = nn.Linear(width, features)

    def enter(self, values: Tensor) -> Tensor:
        """Return tokens at the stream's width."""
        tokens = self.embed(values)
        return self.embed_out(F.gelu(tokens, approximate="tanh")) if hasattr(self, "embed_out") else tokens

    def time(self, flow_time: Float[Tensor, "batch frames tokens"]) -> Tensor:
        """Return the time embedding of each flow time; Wan's clock is turned round here and nowhere else."""
        timestep = WAN_TIMESTEPS * (1 - flow_time.float())
        code = get_timestep_embedding(
            timestep.flatten(), self.config.frequency_dim, flip_sin_to_cos=True, downscale_freq_shift=0
        )
        code = code.unflatten(0, flow_time.shape).to(self.time_in.weight.dtype)
        return self.time_out(F.silu(self.time_in(code)))

    def leave(self, x: Tensor, time: Tensor, head_table: Tensor) -> Tensor:
        """Return velocities (data - noise); the network below speaks Wan's noise - data."""
        shift, scale = (head_table + time.unsqueeze(3)).unbind(3)
        return -self.head(modulated_norm(x, shift, scale, self.config.eps))


class Stream(StreamEnds):
    """Ends, and the layers between them."""

    def __init__(
        self,
        config: TransformerConfig,
        *,
        features: int,
        width: int,
        ffn_dim: int,
        projection: str,
        embedding: str = "linear",
    ):
        super().__init__(config, features=features, width=width, embedding=embedding)
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

    def read_text(self, tokens: Tensor, bias: Tensor) -> list[TextKeys]:
        """Return every layer's keys and values of an instruction."""
        text = self.text_out(F.gelu(self.text_in(tokens), approximate="tanh"))
        return [block.text.text_keys(text, bias) for block in self.blocks]  # type: ignore[union-attr]


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
        if config.is_shared:
            self.action = StreamEnds(config, features=config.action_channels, width=config.action_width)
        else:
            self.action = Stream(
                config,
                features=config.action_channels,
                width=config.action_width,
                ffn_dim=config.action_ffn_dim,
                projection=config.action_projection,
                embedding=config.action_embedding,
            )

    @property
    def action_layers(self) -> Stream:
        """The layers that actions run through: their own, or the video stream's."""
        return self.video if self.config.is_shared else cast("Stream", self.action)

    def video_rotary(self, frames: Tensor, device: torch.device | None = None) -> RotaryTable:
        """Return the rotary table of whole latent frames of video."""
        rows, columns = (side // self.config.patch_size for side in self.config.canvas)
        return rotary_table(video_positions(frames, rows, columns), self.config.head_dim, device)

    def action_rotary(self, frames: Tensor, device: torch.device | None = None) -> RotaryTable:
        """Return the rotary table of the actions leading to these latent frames."""
        positions = action_positions(frames, self.config.actions_per_latent_frame)
        return rotary_table(positions, self.config.head_dim, device)

    def read_text(self, tokens: Float[Tensor, "batch length text_dim"], lengths: Int[Tensor, " batch"]) -> TextContext:
        """Return the instruction as keys and values, to be computed once and used in every step.

        Without `text_length` padding is hidden; of an empty instruction one zero token stays visible. With it, all the
        zeros up to that length are read: they are equal, so one key stands for all, its score raised by the
        logarithm of their number. That is exact, and spares nearly all of 512 keys.
        """
        total = self.config.text_length
        own = lengths.clamp(max=total) if total else lengths.clamp(min=1)
        num_zeros = total - own if total else torch.zeros_like(own)
        width = int((own + (num_zeros > 0)).max())
        tokens = F.pad(tokens[:, :width], (0, 0, 0, max(0, width - tokens.shape[1])))
        place = torch.arange(width, device=tokens.device)
        tokens = tokens * (place < own[:, None])[..., None]
        padding = torch.where(place == own[:, None], num_zeros[:, None], 0).to(tokens.dtype).log()
        bias = torch.where(place < own[:, None], 0.0, padding)[:, None, None]
        video = self.video.read_text(tokens, bias)
        return TextContext(video, video if self.config.is_shared else self.action_layers.read_text(tokens, bias))

    def forward(
        self,
        video: StreamInput | None,
        action: StreamInput | None,
        text: TextContext,
        attention: JointAttention,
        *,
        recompute: bool = False,
        num_wanted: tuple[int, int] | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the velocities of both streams' tokens, shaped like their values; None for an absent stream.

        Training and inference both come through here: `attention` alone says who sees whom.

        Args:
            video: Tokens of the video stream.
            action: Tokens of the action stream.
            text: The instruction.
            attention: Between them.
            recompute: Keep for the backward pass only the tokens between layers, and run each layer again in it.
            num_wanted: Latent frames of either stream, its first ones, whose velocities are wanted; None: of all. Of
                the others the last layer computes what is seen of them and no more. Both streams must be there.
        """
        wanted = num_wanted or (None, None)
        passes = (
            _StreamPass(self.video, self.video, video, text.video, wanted[0]),
            _StreamPass(self.action, self.action_layers, action, text.action, wanted[1]),
        )
        tokens = tuple(p.enter() for p in passes)
        for layer in range(self.config.num_layers):
            if recompute:  # no layer draws random numbers: there is no state of them to restore
                given = (passes, attention, layer, *tokens)
                tokens = checkpoint(_through_layer, *given, use_reentrant=False, preserve_rng_state=False)
            else:
                tokens = _through_layer(passes, attention, layer, *tokens)
        return passes[0].leave(tokens[0]), passes[1].leave(tokens[1])


def _through_layer(
    passes: "tuple[_StreamPass, _StreamPass]",
    attention: JointAttention,
    layer: int,
    video: Tensor | None,
    action: Tensor | None,
) -> tuple[Tensor | None, Tensor | None]:
    """Return both streams' tokens after one layer."""
    modulations = [p.modulation(layer) for p in passes]
    tokens = (video, action)
    projected = [p.project(layer, x, m) for p, x, m in zip(passes, tokens, modulations, strict=True)]
    attended = attention(layer, *projected)
    updated = [p.update(layer, x, a, m) for p, x, a, m in zip(passes, tokens, attended, modulations, strict=True)]
    return updated[0], updated[1]


class _StreamPass:
    """What the tokens of one stream meet on their way through the layers; nothing at all if the stream is absent."""

    def __init__(
        self,
        ends: StreamEnds,
        layers: Stream,
        given: StreamInput | None,
        text: list[TextKeys],
        num_wanted: int | None,
    ):
        self._ends, self._layers, self._given, self._text = ends, layers, given, text
        self._num_wanted = num_wanted
        if given is None:
            return
        per_frame = given.flow_time.ndim == 2
        self._time = ends.time(given.flow_time.unsqueeze(2) if per_frame else given.flow_time)
        self._six = ends.time_projection(F.silu(self._time)).unflatten(-1, (6, -1))

    def _block(self, layer: int) -> StreamBlock:
        return cast("StreamBlock", self._layers.blocks[layer])

    def enter(self) -> Tensor | None:
        return None if self._given is None else self._ends.enter(self._given.values)

    def modulation(self, layer: int) -> Modulation | None:
        return None if self._given is None else self._block(layer).modulation(self._six)

    def project(self, layer: int, x: Tensor | None, modulation: Modulation | None) -> Projected | None:
        if self._given is None or x is None or modulation is None:
            return None
        return self._block(layer).project(x, modulation, self._given.rotary, self._num_queries(layer))

    def update(
        self, layer: int, x: Tensor | None, attended: Tensor | None, modulation: Modulation | None
    ) -> Tensor | None:
        if x is None or attended is None or modulation is None:
            return x
        num_queries = self._num_queries(layer)
        if num_queries == 0:
            return x[:, :0]
        if num_queries is not None:
            x, modulation = x[:, :num_queries], modulation.first_frames(num_queries)
        return self._block(layer).update(x, attended, modulation, self._text[layer])

    def leave(self, x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        return self._ends.leave(x, self._time[:, : self._num_wanted], self._layers.head_table)

    def _num_queries(self, layer: int) -> int | None:
        """Return how many frames see others in a layer; None: all."""
        return self._num_wanted if layer == len(self._layers.blocks) - 1 else None
