"""Joint self-attention in its forms: over a dense mask, a block mask, by rectangles, and over the cache.

Every form maps the queries, keys and values of both streams to the attended values of both. The network does not know
which one it runs under; that training and inference differ in nothing else is what the oracles test.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from foreact.transformer.cache import KVCache
from foreact.transformer.chunked_attention import ChunkedSoftmax
from foreact.transformer.masks import ChunkLayout, PackedTokens, packed_tokens, sees, training_mask


@dataclass(frozen=True)
class Projected:
    """Queries, keys and values of one stream in one layer, positions applied."""

    queries: Float[Tensor, "batch asking_frames tokens heads head_dim"]
    """Of all latent frames, or of the first ones alone: only they receive attended values then."""
    keys: Float[Tensor, "batch frames tokens heads head_dim"]
    values: Float[Tensor, "batch frames tokens heads head_dim"]


@runtime_checkable
class JointAttention(Protocol):
    """Lets the tokens of both streams see what they may see."""

    def __call__(
        self, layer: int, video: Projected | None, action: Projected | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return attended values per stream, [batch, frames, tokens, heads * head_dim]."""
        ...


def _heads_first(x: Tensor) -> Tensor:
    return rearrange(x, "b f n h d -> b h (f n) d")


def _attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


def _tokens_first(x: Tensor, like: Tensor) -> Tensor:
    return rearrange(x, "b h (f n) d -> b f n (h d)", n=like.shape[2])


def _all_queries(stream: Projected) -> Tensor:
    """Return queries of all latent frames; where they are not wanted they are zero, and cut off again later."""
    missing = stream.keys.shape[1] - stream.queries.shape[1]
    return F.pad(stream.queries, (0, 0) * 3 + (0, missing)) if missing else stream.queries


class PackedAttention(ABC):
    """One attention over all packed tokens; how it keeps to the mask is left to what derives from it."""

    def __init__(self, layout: ChunkLayout):
        self._layout = layout
        self._mask: Any = None

    def __call__(self, layer: int, video: Projected | None, action: Projected | None) -> tuple[Tensor, Tensor]:
        """See `JointAttention`; needs both streams."""
        assert video is not None and action is not None
        if self._mask is None:  # once a pass: every layer has the same
            tokens = video.queries.shape[2], action.queries.shape[2]
            self._mask = self._make_mask(*tokens, device=video.queries.device)
        both = [
            torch.cat([_heads_first(v), _heads_first(a)], dim=2)
            for v, a in zip(
                (_all_queries(video), video.keys, video.values),
                (_all_queries(action), action.keys, action.values),
                strict=True,
            )
        ]
        attended = self._attend(*both)
        num_video = video.keys.shape[1] * video.keys.shape[2]
        outs = attended.split([num_video, attended.shape[2] - num_video], dim=2)
        return tuple(  # type: ignore[return-value]
            _tokens_first(out, stream.keys)[:, : stream.queries.shape[1]]
            for out, stream in zip(outs, (video, action), strict=True)
        )

    @abstractmethod
    def _make_mask(self, video_tokens: int, action_tokens: int, *, device: torch.device) -> Any: ...

    @abstractmethod
    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor: ...


class MaskedAttention(PackedAttention):
    """Under a dense mask: slow, and plainly right."""

    def _make_mask(self, video_tokens: int, action_tokens: int, *, device: torch.device) -> Tensor:
        return training_mask(self._layout, video_tokens, action_tokens).to(device)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return _attend(queries, keys, values, self._mask)


class BlockMaskedAttention(PackedAttention):
    """Under flex attention's block mask: one fused kernel on CUDA that skips blocks in which no pair is live."""

    def _make_mask(self, video_tokens: int, action_tokens: int, *, device: torch.device) -> BlockMask:
        tokens = packed_tokens(self._layout, video_tokens, action_tokens).to(device)

        live = partial(_is_live, tokens, self._layout)
        length = len(tokens.frame)
        return create_block_mask(live, B=None, H=None, Q_LEN=length, KV_LEN=length, device=device)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        run = _compiled_flex_attention() if queries.is_cuda else flex_attention
        return cast("Tensor", run(queries, keys, values, block_mask=self._mask))


def _is_live(
    tokens: PackedTokens, layout: ChunkLayout, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
) -> Tensor:
    """Return whether a query sees a key, as flex attention asks: by their indices."""
    return sees(tokens.at(query), tokens.at(key), layout)


@cache
def _compiled_flex_attention() -> Callable[..., Any]:
    """Return flex attention as one kernel; uncompiled it would fill in the whole matrix of scores."""
    return torch.compile(flex_attention)


class ChunkedAttention:
    """The same, chunk by chunk without a mask: it never pays for a pair that is masked out. On a CPU only."""

    def __init__(self, layout: ChunkLayout):
        self._layout = layout

    def __call__(self, layer: int, video: Projected | None, action: Projected | None) -> tuple[Tensor, Tensor]:
        """See `JointAttention`; needs both streams."""
        assert video is not None and action is not None
        given = [*vars(video).values(), *vars(action).values()]
        if torch.is_autocast_enabled(video.queries.device.type):
            given = [x.to(torch.get_autocast_dtype(video.queries.device.type)) for x in given]
        video_out, action_out = ChunkedSoftmax.apply(self._layout, *given)
        return video_out.flatten(3), action_out.flatten(3)


def training_attention(layout: ChunkLayout, device: torch.device) -> JointAttention:
    """Return the fastest way to train under the layout's mask: flex attention on CUDA, rectangles on a CPU."""
    if device.type == "cuda":
        return BlockMaskedAttention(layout)
    return ChunkedAttention(layout) if device.type == "cpu" else MaskedAttention(layout)


class CachedAttention:
    """New tokens see their session's cache and themselves; their keys and values land in its scratch space.

    The rows of a batch belong to one cache after the other, equally many to each. Video comes first: actions passed
    together with video see it, video never sees actions of its own chunk.
    """

    def __init__(self, *caches: KVCache):
        self._caches = caches

    def __call__(
        self, layer: int, video: Projected | None, action: Projected | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """See `JointAttention`. Writes the new keys and values to scratch, where the next pass overwrites them."""
        outs: list[Tensor | None] = [None, None]
        offset = 0
        for index, stream in enumerate((video, action)):
            if stream is None:
                continue
            queries, keys, values = (_heads_first(x) for x in (stream.queries, stream.keys, stream.values))
            offset += keys.shape[2]
            rows = len(keys) // len(self._caches)
            attended = [
                # Histories differ in length, so each session attends by itself; all else runs as one batch.
                _attend(q, *cache.write_scratch(layer, k, v, offset))
                for cache, q, k, v in zip(self._caches, *(x.split(rows) for x in (queries, keys, values)), strict=True)
            ]
            outs[index] = _tokens_first(attended[0] if len(attended) == 1 else torch.cat(attended), stream.queries)
        return outs[0], outs[1]
