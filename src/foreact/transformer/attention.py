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
from foreact.transformer.masks import ChunkLayout, PackedTokens, packed_tokens, sees, training_mask


@dataclass(frozen=True)
class Projected:
    """Queries, keys and values of one stream in one layer, positions applied."""

    queries: Float[Tensor, "batch frames tokens heads head_dim"]
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
    return rearrange(x, "b h (f n) d -> b f n (h d)", f=like.shape[1])


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
                (video.queries, video.keys, video.values),
                (action.queries, action.keys, action.values),
                strict=True,
            )
        ]
        attended = self._attend(*both)
        num_video = video.queries.shape[1] * video.queries.shape[2]
        video_out, action_out = attended.split([num_video, attended.shape[2] - num_video], dim=2)
        return _tokens_first(video_out, video.queries), _tokens_first(action_out, action.queries)

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
    """The same, chunk by chunk without a mask: it never pays for a pair that is masked out.

    In a chunk the noisy and the clean copy of a stream see equally many keys, so both run as one batch.
    """

    def __init__(self, layout: ChunkLayout):
        self._layout = layout

    def __call__(self, layer: int, video: Projected | None, action: Projected | None) -> tuple[Tensor, Tensor]:
        """See `JointAttention`; needs both streams."""
        assert video is not None and action is not None
        num_frames = self._layout.num_frames
        noisy_video, clean_video = _split_copies(video, num_frames)
        noisy_action, clean_action = _split_copies(action, num_frames)
        outs: list[list[Tensor]] = [[], [], [], []]
        for start, stop in self._layout.chunks:
            past = slice(self._layout.history_start(start), start)
            now = slice(start, stop)
            history = [_concatenate(clean_video, past, clean_action, past)]
            seen_video = [*history, _take(clean_video, now)]
            outs[1].append(_run(clean_video, now, seen_video))
            outs[3].append(_run(clean_action, now, [*seen_video, _take(clean_action, now)]))
            if start == 0:
                continue
            noisy_now = slice(start - 1, stop - 1)
            own_video, own_action = _take(noisy_video, noisy_now), _take(noisy_action, noisy_now)
            if self._layout.forward_dynamics:
                outs[0].append(_run(noisy_video, noisy_now, [*history, own_action, own_video]))
                outs[2].append(_run(noisy_action, noisy_now, [*history, own_action]))
                continue
            if self._layout.imagines:
                outs[0].append(_run(noisy_video, noisy_now, [*history, own_video]))
            readable = seen_video if self._layout.imagines else history
            outs[2].append(_run(noisy_action, noisy_now, [*readable, own_action]))
        return torch.cat(outs[0] + outs[1], dim=1), torch.cat(outs[2] + outs[3], dim=1)


_Frames = tuple[Tensor, Tensor, Tensor]
"""Queries, keys, values, each [batch, heads, frames, tokens, head_dim]."""


def _split_copies(stream: Projected, num_frames: int) -> tuple[_Frames, _Frames]:
    """Return the noisy and the clean part of a packed stream, heads first."""
    parts = [x.transpose(2, 3).transpose(1, 2) for x in (stream.queries, stream.keys, stream.values)]
    noisy = tuple(x[:, :, :-num_frames] for x in parts)
    clean = tuple(x[:, :, -num_frames:] for x in parts)
    return noisy, clean  # type: ignore[return-value]


def _take(stream: _Frames, frames: slice) -> tuple[Tensor, Tensor]:
    """Return keys and values of some frames, [batch, heads, tokens, head_dim]."""
    return stream[1][:, :, frames].flatten(2, 3), stream[2][:, :, frames].flatten(2, 3)


def _concatenate(a: _Frames, frames_a: slice, b: _Frames, frames_b: slice) -> tuple[Tensor, Tensor]:
    pairs = zip(_take(a, frames_a), _take(b, frames_b), strict=True)
    keys, values = (torch.cat(pair, dim=2) for pair in pairs)
    return keys, values


def _run(stream: _Frames, frames: slice, seen: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return what the queries of some frames attend to among `seen`, [batch, frames, tokens, width]."""
    queries = stream[0][:, :, frames]
    keys = torch.cat([pair[0] for pair in seen], dim=2)
    values = torch.cat([pair[1] for pair in seen], dim=2)
    attended = _attend(queries.flatten(2, 3), keys, values)
    return rearrange(attended, "b h (f n) d -> b f n (h d)", f=queries.shape[2])


def training_attention(layout: ChunkLayout, device: torch.device) -> JointAttention:
    """Return the fastest way to train under the layout's mask: flex attention on CUDA, rectangles elsewhere."""
    return BlockMaskedAttention(layout) if device.type == "cuda" else ChunkedAttention(layout)


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
