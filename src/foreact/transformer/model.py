"""The network: video tokens and action tokens, side by side through all layers, to their velocities."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from foreact.errors import ConfigurationError
from foreact.from_diffusers import get_timestep_embedding
from foreact.transformer.attention import JointAttention
from foreact.transformer.block import StreamBlock, TextKeys, modulated_norm
from foreact.transformer.joint_layer import JointLayer, LayerInput, TextTokens
from foreact.transformer.positions import RotaryTable, action_positions, rotary_table, video_positions
from foreact.transformer.preconditioning import preconditioned_velocity
from foreact.transformer.tokens import PATCH, StreamInput, pack_actions, unpack_actions

WAN_TIMESTEPS = 1000.0
"""Wan counts time from 1000 at noise to 0 at data."""
_COUNTS = (
    *("num_heads", "num_layers", "video_width", "action_width", "video_ffn_dim", "action_ffn_dim", "text_dim"),
    *("latent_channels", "action_channels", "actions_per_latent_frame", "frequency_dim"),
)
"""Settings that count something of which there is at least one."""


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
    """Actions on the way to each latent frame."""
    actions_per_token: int = 1
    """Actions, one after the other, that share a token; 1 in the paper and all published weights. Where a latent frame
    has few video tokens, one token an action spends most of the work on actions."""
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
    video_data_std: float = 0.0
    """Spread of clean latents, where the video stream's output is preconditioned by it (`preconditioning`); 0:
    the output is the velocity itself, as in the paper and all published weights."""
    action_data_std: float = 0.0
    """Likewise of actions in model units."""
    relative_actions: bool = False
    """Whether a chunk's actions are changes from the last action before it, for the network, instead of targets in
    model units. History always shows the targets themselves."""
    learned_positions: bool = False
    """Whether a token also gets a learned vector for its place within its latent frame. Rotary positions, which are all
    that Wan and the published weights have, only say how far apart two tokens are, not where each is."""
    eps: float = 1e-6
    """Of every norm."""

    def __post_init__(self) -> None:
        for name in ("video_data_std", "action_data_std"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigurationError(name, got=getattr(self, name), allowed="0 (not preconditioned) or more")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ConfigurationError(name, got=getattr(self, name), allowed="1 or more")
        if min(self.canvas) < 1:
            raise ConfigurationError("canvas", got=self.canvas, allowed="two numbers, 1 or more each")
        if not 0 < self.eps < 1:  # a norm divides by a root of it; NaN compares as false
            raise ConfigurationError("eps", got=self.eps, allowed="above 0 and below 1")
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
        if self.actions_per_token < 1 or self.actions_per_latent_frame % self.actions_per_token:
            allowed = f"1 or more that divide actions_per_latent_frame, {self.actions_per_latent_frame}"
            raise ConfigurationError("actions_per_token", got=self.actions_per_token, allowed=allowed)
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
    def action_tokens(self) -> int:
        """Action tokens per latent frame."""
        return self.actions_per_latent_frame // self.actions_per_token

    @property
    def action_features(self) -> int:
        """Features of an action token as it enters and leaves the network."""
        return self.actions_per_token * self.action_channels

    @property
    def patch_features(self) -> int:
        """Features of a video token as it enters and leaves the network."""
        return self.latent_channels * self.patch_size**2


class StreamEnds(nn.Module):
    """What each kind of token has to itself even where the layers are shared: its way in, its clock, its way out."""

    def __init__(self, config: TransformerConfig, *, features: int, width: int, tokens: int, embedding: str = "linear"):
        super().__init__()
        self.config = config
        self.embed = nn.Linear(features, width)
        if config.learned_positions:
            self.place = nn.Parameter(torch.randn(tokens, width) / width**0.5)
        if embedding == "mlp":
            self.embed_out = nn.Linear(width, width)
        self.time_in = nn.Linear(config.frequency_dim, width)
        self.time_out = nn.Linear(width, width)
        self.time_projection = nn.Linear(width, 6 * width)
        self.head = nn.Linear(width, features)

    def enter(self, values: Tensor) -> Tensor:
        """Return tokens at the stream's width."""
        tokens = self.embed(values)
        if hasattr(self, "embed_out"):
            tokens = self.embed_out(F.gelu(tokens, approximate="tanh"))
        return tokens + self.place if self.config.learned_positions else tokens

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
    """Ends, and blocks of its own in the layers between them."""

    def __init__(
        self,
        config: TransformerConfig,
        *,
        features: int,
        width: int,
        tokens: int,
        ffn_dim: int,
        projection: str,
        embedding: str = "linear",
    ):
        super().__init__(config, features=features, width=width, tokens=tokens, embedding=embedding)
        self.text_in = nn.Linear(config.text_dim, width)
        self.text_out = nn.Linear(width, width)
        self.blocks = tuple(  # not modules of the stream: the joint layers hold them
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

    def embed_text(self, text: TextTokens) -> TextTokens:
        """Return the text encoder's tokens at the stream's width."""
        return TextTokens(self.text_out(F.gelu(self.text_in(text.tokens), approximate="tanh")), text.bias)

    def read_text(self, text: TextTokens) -> list[TextKeys]:
        """Return every layer's keys and values of an instruction, for the text encoder's tokens."""
        embedded = self.embed_text(text)
        return [block.text.text_keys(*embedded) for block in self.blocks]


@dataclass(frozen=True)
class TextContext:
    """An instruction as keys and values, ready for every layer of both streams."""

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
            tokens=config.video_tokens,
            ffn_dim=config.video_ffn_dim,
            projection="direct",
        )
        if config.is_shared:
            self.action = StreamEnds(
                config,
                features=config.action_features,
                width=config.action_width,
                tokens=config.action_tokens,
            )
        else:
            self.action = Stream(
                config,
                features=config.action_features,
                width=config.action_width,
                tokens=config.action_tokens,
                ffn_dim=config.action_ffn_dim,
                projection=config.action_projection,
                embedding=config.action_embedding,
            )

        self.layers = nn.ModuleList(
            JointLayer(number, *blocks)
            for number, blocks in enumerate(
                zip(self.video.blocks, getattr(self.action, "blocks", [None] * config.num_layers), strict=True)
            )
        )
        self.register_state_dict_post_hook(_with_stored_names)
        self.register_load_state_dict_pre_hook(_with_held_names)

    @property
    def action_layers(self) -> Stream:
        """Whose blocks actions run through: their own stream's, or the video stream's."""
        return self.video if self.config.is_shared else cast("Stream", self.action)

    def get_submodule(self, target: str) -> nn.Module:
        """Return a module by its path, or by the name that its weights are stored under."""
        return super().get_submodule(held_name(target))

    def video_rotary(
        self, frames: Tensor, device: torch.device | None = None, *, canvas: Sequence[int] | None = None
    ) -> RotaryTable:
        """Return the rotary table of whole latent frames of video, on the configured canvas or another."""
        rows, columns = (side // self.config.patch_size for side in canvas or self.config.canvas)
        return rotary_table(video_positions(frames, rows, columns), self.config.head_dim, device)

    def action_rotary(
        self, frames: Tensor, device: torch.device | None = None, *, actions_per_frame: int | None = None
    ) -> RotaryTable:
        """Return the rotary table of the actions leading to these latent frames, as many as configured or others."""
        per_frame = actions_per_frame or self.config.actions_per_latent_frame
        positions = action_positions(frames, per_frame // self.config.actions_per_token)
        return rotary_table(positions, self.config.head_dim, device)

    def read_text(self, tokens: Float[Tensor, "batch length text_dim"], lengths: Int[Tensor, " batch"]) -> TextContext:
        """Return the instruction as keys and values, to be computed once and used in every step."""
        text = self.prepare_text(tokens, lengths)
        video = self.video.read_text(text)
        return TextContext(video, video if self.config.is_shared else self.action_layers.read_text(text))

    def prepare_text(
        self, tokens: Float[Tensor, "batch length text_dim"], lengths: Int[Tensor, " batch"]
    ) -> TextTokens:
        """Return the text encoder's tokens with the bias that hides their padding; no weight is used.

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
        return TextTokens(tokens, torch.where(place < own[:, None], 0.0, padding)[:, None, None])

    def forward(
        self,
        video: StreamInput | None,
        action: StreamInput | None,
        text: TextContext | TextTokens,
        attention: JointAttention,
        *,
        recompute: bool = False,
        num_wanted: tuple[int, int] | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the velocities of both streams' tokens, shaped like their values; None for an absent stream.

        Training and inference both come through here: `attention` alone says who sees whom.

        Args:
            video: Tokens of the video stream.
            action: Actions, one by one; those that share a token (`actions_per_token`) must have one flow time.
            text: The instruction, from `read_text`; or from `prepare_text`, if the weights that read it are to learn.
            attention: Between them.
            recompute: Keep for the backward pass only the tokens between layers, and run each layer again in it.
            num_wanted: Latent frames of either stream, its first ones, whose velocities are wanted; None: of all. Of
                the others the last layer computes what is seen of them and no more. Both streams must be there.
        """
        packed = None if action is None else pack_actions(action, self.config.actions_per_token)
        streams, ends = (video, packed), (self.video, self.action)
        tokens = [None if x is None else end.enter(x.values) for end, x in zip(ends, streams, strict=True)]
        times = [None if x is None else end.time(_per_token(x.flow_time)) for end, x in zip(ends, streams, strict=True)]
        inputs = [
            None
            if x is None or time is None
            else LayerInput(end.time_projection(F.silu(time)).unflatten(-1, (6, -1)), x.rotary.turns)
            for end, x, time in zip(ends, streams, times, strict=True)
        ]
        texts = self._text_of_layers(text)
        for layer, of_layer in zip(self.layers, texts, strict=True):
            wanted = num_wanted if num_wanted is not None and layer is self.layers[-1] else (None, None)
            tokens = layer(*tokens, tuple(inputs), of_layer, attention, wanted, recompute)
        frames = num_wanted or (None, None)
        tables = (self.video.head_table, self.action_layers.head_table)
        video_out, action_out = (
            None if x is None or time is None else end.leave(x, time[:, :number], table)
            for end, x, time, number, table in zip(ends, tokens, times, frames, tables, strict=True)
        )
        if action_out is not None:
            action_out = unpack_actions(action_out, self.config.actions_per_token)
        return (
            _velocity(video_out, video, self.config.video_data_std),
            _velocity(action_out, action, self.config.action_data_std),
        )

    def _text_of_layers(self, text: TextContext | TextTokens) -> list[tuple[Any, Any]]:
        """Return, for each layer, what its video and its action tokens read."""
        if isinstance(text, TextContext):
            return list(zip(text.video, text.action, strict=True))
        video = self.video.embed_text(text)
        action = video if self.config.is_shared else self.action_layers.embed_text(text)
        return [(video, action)] * len(self.layers)


def _velocity(output: Tensor | None, given: StreamInput | None, data_std: float) -> Tensor | None:
    """Return the velocities that a stream's outputs stand for."""
    if output is None or given is None or not data_std:
        return output
    wanted = slice(output.shape[1])
    return preconditioned_velocity(output, given.values[:, wanted], given.flow_time[:, wanted], data_std)


def _per_token(flow_time: Tensor) -> Tensor:
    """Return flow times with an axis for tokens, of length 1 where all tokens of a latent frame have the same."""
    return flow_time.unsqueeze(2) if flow_time.ndim == 2 else flow_time


def held_name(name: str) -> str:
    """Return where the network holds what is stored under a name: `video.blocks.3.x` is `layers.3.video.x`."""
    return re.sub(r"^(video|action)\.blocks\.(\d+)", r"layers.\2.\1", name)


def stored_name(name: str) -> str:
    """Return the name under which a weight of the network is stored: the inverse of `held_name`."""
    return re.sub(r"^layers\.(\d+)\.(video|action)", r"\2.blocks.\1", name)


def _with_stored_names(model: nn.Module, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Rename, in place, what `state_dict` found, each stream's blocks after its ends."""
    found = {name.removeprefix(prefix): weights.pop(name) for name in list(weights) if name.startswith(prefix)}
    stored = {stored_name(name): value for name, value in found.items()}
    for stream in ("video.", "action."):
        weights.update({prefix + name: value for name, value in stored.items() if name.startswith(stream)})


def _with_held_names(model: nn.Module, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Rename, in place, what `load_state_dict` is given."""
    for name in [name for name in weights if name.startswith(prefix)]:
        weights[prefix + held_name(name.removeprefix(prefix))] = weights.pop(name)
