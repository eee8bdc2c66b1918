"""Memory to run a policy: weights, cache and activations, in four precisions."""

from dataclasses import dataclass
from typing import Literal

from foreact.cost.cache import CacheSize
from foreact.cost.parameters import NetworkParameters
from foreact.cost.streams import StreamSizes, stream_sizes
from foreact.policy.inference import InferenceConfig
from foreact.transformer.model import TransformerConfig

Precision = Literal["float32", "bfloat16", "int8", "fp8"]


@dataclass(frozen=True, kw_only=True)
class RunMemory:
    """Bytes that one session needs in one precision, the framework's own few hundred MB apart."""

    precision: Precision
    """int8 and fp8: the matrices of the layers take one byte a weight, everything else is bfloat16."""
    network: int
    """Weights of both streams."""
    cache: int
    """The KV cache."""
    activations: int
    """Most that a pass or the encoding of one chunk needs at once."""
    video_vae: int
    """Its weights."""
    text_encoder: int
    """Its weights; the small word encoder has none."""
    total: int
    """All of it."""
    total_text_released: int
    """Without the text encoder: after the instruction is embedded it can leave the device."""


def run_memory(
    precision: Precision,
    parameters: NetworkParameters,
    cache: CacheSize,
    *,
    pass_numbers: int,
    vae_activation_bytes: int,
    vae_parameters: int,
    text_parameters: int,
) -> RunMemory:
    """Return the bytes of every part.

    Args:
        precision: Of the weights.
        parameters: Of the network.
        cache: Of one session.
        pass_numbers: From `largest_pass`.
        vae_activation_bytes: In bfloat16.
        vae_parameters: Of the video VAE, encoder and decoder.
        text_parameters: Of the text encoder.
    """
    size = 4 if precision == "float32" else 2
    network = size * parameters.total
    if precision in ("int8", "fp8"):
        network -= parameters.layer_matrices
    kept = cache.float32_bytes if precision == "float32" else cache.bfloat16_bytes
    activations = max(size * pass_numbers, size // 2 * vae_activation_bytes)
    without_text = network + kept + activations + size * vae_parameters
    return RunMemory(
        precision=precision,
        network=network,
        cache=kept,
        activations=activations,
        video_vae=size * vae_parameters,
        text_encoder=size * text_parameters,
        total=without_text + size * text_parameters,
        total_text_released=without_text,
    )


def largest_pass(config: TransformerConfig, inference: InferenceConfig) -> int:
    """Return the numbers alive at once, at most, in the largest pass: that which appends one chunk of both streams.

    A stream is at its largest either in the feed-forward (its hidden layer before and after the activation, next to the
    tokens) or while its keys are turned: queries, keys and values, plain and turned, and float32 copies in between,
    twelve joint widths in all. The other stream meanwhile holds its tokens, queries, keys and values.
    """
    streams = [stream_sizes(config, kind) for kind in ("video", "action")]
    busy = [max(2 * s.ffn_dim + 2 * s.width, 12 * s.joint_width + 3 * s.width) * s.tokens for s in streams]
    waiting = [(s.width + 4 * s.joint_width) * s.tokens for s in streams]
    largest = max(busy[0] + waiting[1], busy[1] + waiting[0])
    return inference.rows * (inference.latent_frames_per_chunk * largest + _modulations(streams))


def _modulations(streams: list[StreamSizes]) -> int:
    """Return the numbers of all layers' modulations for one flow time."""
    return sum(6 * s.width * s.num_layers for s in streams)
