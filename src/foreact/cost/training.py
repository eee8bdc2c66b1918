"""Memory and operations to train: one optimiser step on the recipe's longest sequences."""

from dataclasses import dataclass
from typing import Literal

from foreact.cost.parameters import NetworkParameters
from foreact.cost.streams import Kind, stream_sizes
from foreact.training.step import BatchConfig
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import TransformerConfig

Method = Literal["full", "full, 8-bit", "LoRA"]
METHODS: tuple[Method, ...] = ("full", "full, 8-bit", "LoRA")
KINDS: tuple[Kind, Kind] = ("video", "action")
FLOAT32 = 4


@dataclass(frozen=True, kw_only=True)
class SavedBytes:
    """Bytes that one layer keeps of one token for the backward pass, per unit of width; measured on the network."""

    width: int
    """Of the stream: norms, gates, text attention, the residual."""
    joint_width: int
    """Of joint attention: queries, keys and values before and after their norm and turn, and what they attended to."""
    ffn_dim: int
    """Of the feed-forward: before and after its activation."""


SAVED = {
    "float32": SavedBytes(width=56, joint_width=36, ffn_dim=8),
    "bfloat16": SavedBytes(width=46, joint_width=27, ffn_dim=4),
}
"""By the recipe's precision: in bfloat16, norms and the residual stay float32."""


@dataclass(frozen=True, kw_only=True)
class TrainMemory:
    """Bytes of one CUDA device that trains the network alone, the framework's own few hundred MB apart."""

    method: Method
    """full: all weights under AdamW. 8-bit: its two moments in a byte each (computed; not built). LoRA: what
    `--method lora` trains, under AdamW, next to frozen weights in float32."""
    checkpointing: bool
    """Whether layers are computed again in the backward pass instead of kept."""
    weights: int
    """Float32 weights, and in bfloat16 their copies."""
    gradients: int
    """Float32."""
    moments: int
    """The optimiser's."""
    average: int
    """The moving average of the weights, float32."""
    activations: int
    """What the backward pass needs of one micro-batch."""
    total: int
    """All of it."""


def train_memory(
    method: Method, *, checkpointing: bool, precision: str, parameters: NetworkParameters, activations: int
) -> TrainMemory:
    """Return the bytes of every part.

    Args:
        method: What is trained, and how.
        checkpointing: Whether `activations` are those with checkpointing.
        precision: The recipe's.
        parameters: Of the network.
        activations: From `activation_bytes`.
    """
    trained = parameters.lora_trained if method == "LoRA" else parameters.total
    copies = 2 if precision == "bfloat16" else 0
    frozen = FLOAT32 * parameters.lora_frozen if method == "LoRA" else 0
    weights = frozen + (FLOAT32 + copies) * trained
    moments = (2 if method == "full, 8-bit" else 2 * FLOAT32) * trained
    return TrainMemory(
        method=method,
        checkpointing=checkpointing,
        weights=weights,
        gradients=FLOAT32 * trained,
        moments=moments,
        average=FLOAT32 * trained,
        activations=activations,
        total=weights + moments + 2 * FLOAT32 * trained + activations,
    )


def longest_layout(batch: BatchConfig, frames_per_chunk: int) -> ChunkLayout:
    """Return the longest sequence of a batch, cut into such chunks, under the widest window."""
    window = batch.window[1]
    return ChunkLayout(
        num_frames=batch.max_frames, frames_per_chunk=frames_per_chunk, window=window, imagines=batch.imagines
    )


def activation_bytes(config: TransformerConfig, batch: BatchConfig, precision: str, *, checkpointing: bool) -> int:
    """Return what the backward pass of one micro-batch of the longest sequences needs.

    Per layer and token `SAVED`. With checkpointing: the tokens (float32) between layers, and one layer in full.
    """
    layout, saved, layer, between = longest_layout(batch, 1), SAVED[precision], 0, 0
    for kind, frames in zip(KINDS, (layout.video_frames, layout.action_frames), strict=True):
        sizes = stream_sizes(config, kind)
        per_token = saved.width * sizes.width + saved.joint_width * sizes.joint_width + saved.ffn_dim * sizes.ffn_dim
        layer += len(frames) * sizes.tokens * per_token
        between += len(frames) * sizes.tokens * FLOAT32 * sizes.width
    layers = layer + config.num_layers * between if checkpointing else config.num_layers * layer
    return batch.micro_batch * layers


def forward_flops(config: TransformerConfig, layout: ChunkLayout, *, text_tokens: int) -> int:
    """Return the operations of one teacher-forced forward over one sequence, the instruction's keys apart.

    All velocities are counted. Training leaves out those of the clean copy, which saves most of half a layer.
    """
    total = 0
    for kind, frames in zip(KINDS, (layout.video_frames, layout.action_frames), strict=True):
        sizes, num_tokens = stream_sizes(config, kind), len(frames) * stream_sizes(config, kind).tokens
        per_token = sizes.ends + sizes.num_layers * (sizes.layer_products + 2 * text_tokens * sizes.width)
        total += num_tokens * per_token + len(frames) * sizes.clock
    pairs = sum(queries * keys for _, queries, keys in _attentions(config, layout))
    return 2 * (total + 2 * pairs * config.num_layers * config.video_width)


def _attentions(config: TransformerConfig, layout: ChunkLayout) -> list[tuple[Kind, int, int]]:
    """Return (stream, queries, keys) of every attention that `ChunkedAttention` runs in a layer."""
    video, action = config.video_tokens, config.action_tokens
    runs: list[tuple[Kind, int, int]] = []
    for start, stop in layout.chunks:
        frames = stop - start
        history = (start - layout.history_start(start)) * (video + action)
        seen = history + frames * video
        clean: list[tuple[Kind, int, int]] = [
            ("video", frames * video, seen),
            ("action", frames * action, seen + frames * action),
        ]
        runs += clean
        if start == 0:
            continue
        if layout.imagines:
            runs += clean
        else:
            runs.append(("action", frames * action, history + frames * action))
    return runs
