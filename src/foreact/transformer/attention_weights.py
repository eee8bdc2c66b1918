"""Attention that also says where it looked: weights recomputed from the same queries and keys, for people to see.

It is never used to act. The fused attention of `CachedAttention` computes no weights that could be kept, so they are
computed once more next to it; weights times values are what it returned, which a test holds.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from foreact.transformer.attention import CachedAttention, Projected, _heads_first
from foreact.transformer.cache import KVCache


class RecordingAttention:
    """`CachedAttention` over one cache; keeps, layer by layer, the weights of the stream that passes."""

    def __init__(self, cache: KVCache):
        """Keep nothing yet."""
        self._cache, self._attention = cache, CachedAttention(cache)
        self.weights: list[Float[Tensor, "rows heads queries seen"]] = []
        """One a layer; each query's sum to 1. The order of what is seen is `KVCache.seen_by_actions`."""
        self.values: list[Float[Tensor, "rows heads seen head_dim"]] = []
        """The values that they weigh, one tensor a layer."""

    def __call__(
        self, layer: int, video: Projected | None, action: Projected | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """See `JointAttention`; one stream at a time."""
        stream = action if video is None else video
        assert stream is not None and (video is None or action is None), "one stream at a time"
        attended = self._attention(layer, video, action)
        queries, keys, values = (_heads_first(x) for x in (stream.queries, stream.keys, stream.values))
        # The same entries once more, in the same place: this only asks for the slice that was seen.
        seen_keys, seen_values = self._cache.write_scratch(layer, keys, values, keys.shape[2])
        scores = queries.float() @ seen_keys.float().transpose(-1, -2) / queries.shape[-1] ** 0.5
        self.weights.append(torch.softmax(scores, dim=-1))
        self.values.append(seen_values.clone())
        return attended
