"""Weights that are recorded for people: with the values they weigh they give what attention returned."""

import pytest
import torch

from foreact.transformer.attention import CachedAttention, Projected
from foreact.transformer.attention_weights import RecordingAttention
from foreact.transformer.cache import KVCache

HEADS, DIM, VIDEO, ACTION = 2, 6, 3, 2


def cache() -> KVCache:
    return KVCache(
        num_layers=2,
        batch=1,
        num_heads=HEADS,
        head_dim=DIM,
        window=4,
        video_tokens=VIDEO,
        action_tokens=ACTION,
        scratch_frames=2,
    )


def projected(tokens: int, seed: int) -> Projected:
    generator = torch.Generator().manual_seed(seed)
    return Projected(*(torch.randn(1, 2, tokens, HEADS, DIM, generator=generator) for _ in range(3)))


@pytest.mark.parametrize("kind", ["video", "action"])
def test_weights_times_values_are_what_attention_returns(kind) -> None:
    both = cache(), cache()
    for each in both:
        attention = CachedAttention(each)
        for layer in range(2):
            attention(layer, projected(VIDEO, 1), projected(ACTION, 2))
        each.append_observed(2)
    recording, plain = RecordingAttention(both[0]), CachedAttention(both[1])
    given = projected(VIDEO if kind == "video" else ACTION, 3)
    streams = (given, None) if kind == "video" else (None, given)
    for layer in range(2):
        returned, expected = recording(layer, *streams), plain(layer, *streams)
        which = 0 if kind == "video" else 1
        assert torch.equal(returned[which], expected[which]), "the normal path is as it was"
        weights, values = recording.weights[layer], recording.values[layer]
        assert weights.sum(-1) == pytest.approx(torch.ones(1, HEADS, given.queries.shape[1] * given.queries.shape[2]))
        weighed = (weights @ values).permute(0, 2, 1, 3).reshape(expected[which].shape)
        torch.testing.assert_close(weighed, expected[which], rtol=1e-5, atol=1e-6)
