"""Joint self-attention, in its three forms: over a dense mask, by rectangles, and over the cache.

Every form maps the queries, keys and values of both streams to the attended values of both. The network does not know
which one it runs under; that training and inference differ in nothing else is what the oracles test.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from foreact.transformer.cache import KVCache
from foreact.transformer.masks import ChunkLayout, training_mask


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


class MaskedAttention:
    """One attention over all packed tokens under a dense mask: slow, and plainly right."""

    def __init__(self, layout: ChunkLayout):
        self._layout = layout
        self._mask: Tensor | None = None

    def __call__(self, layer: int, video: Projected | None, action: Projected | None) -> tuple[Tensor, Tensor]:
        """See `JointAttention`; needs both streams."""
        assert video is not None and action is not None
        if self._mask is None:
            counts = video.queries.shape[2], action.queries.shape[2]
            self._mask = training_mask(self._layout, *counts).to(video.queries.device)
        both = [
            torch.cat([_heads_first(v), _heads_first(a)], dim=2)
            for v, a in zip(
                (video.queries, video.keys, video.values),
                (action.queries, action.keys, action.values),
                strict=True,
            )
        ]
        attended = _attend(*both, mask=self._mask)
        num_video = video.queries.shape[1] * video.queries.shape[2]
        video_out, action_out = attended.split([num_video, attended.shape[2] - num_video], dim=2)
        return _tokens_first(video_out, video.queries), _tokens_first(action_out, action.queries)


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
            if self._layout.imagines:
                outs[0].append(_run(noisy_video, noisy_now, [*history, _take(noisy_video, noisy_now)]))
            readable = seen_video if self._layout.imagines else history
            outs[2].append(_run(noisy_action, noisy_now, [*readable, _take(noisy_action, noisy_now)]))
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


class CachedAttention:
    """New tokens see the cache and themselves; their keys and values land in the cache's scratch space.

    Video comes first: actions passed together with video see it, video never sees actions of its own chunk.
    """

    def __init__(self, cache: KVCache):
        self._cache = cache

    def __call__(
        self, layer: int, video: Projected | None, action: Projected | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """See `JointAttention`. Writes the new keys and values to scratch, where the next pass overwrites them."""
        outs: list[Tensor | None] = [None, None]
        offset = 0
        for index, stream in enumerate((video, action)):
            if stream is None:
                continue
            keys, values = _heads_first(stream.keys), _heads_first(stream.values)
            offset += keys.shape[2]
            seen = self._cache.write_scratch(layer, keys, values, offset)
            outs[index] = _tokens_first(_attend(_heads_first(stream.queries), *seen), stream.queries)
        return outs[0], outs[1]
