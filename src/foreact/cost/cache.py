"""How large the KV cache of one session is, without making one."""

from dataclasses import dataclass

from foreact.policy.inference import InferenceConfig, cache_numbers
from foreact.transformer.model import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class CacheSize:
    """One session's keys and values."""

    rows: int
    """2 under guidance: a conditional and an unconditional one."""
    latent_frames: int
    """The window, and scratch space next to it: of one chunk, or of two where chunks can be asked for while actions are
    under way."""
    token_bytes: int
    """Of one token, all layers, one row, in bfloat16."""
    float32_bytes: int
    """The whole cache in float32."""
    bfloat16_bytes: int
    """The whole cache in bfloat16."""


def cache_size(config: TransformerConfig, inference: InferenceConfig) -> CacheSize:
    """Return the sizes: a key and a value of the joint width per layer, row and token.

    Of a policy that was trained to act while it thinks, the cache is meant that it does so with.
    """
    inference = inference.as_driven()
    numbers = cache_numbers(config, inference)
    return CacheSize(
        rows=inference.rows,
        latent_frames=inference.cache_frames,
        token_bytes=2 * 2 * config.num_layers * config.video_width,
        float32_bytes=4 * numbers,
        bfloat16_bytes=2 * numbers,
    )
