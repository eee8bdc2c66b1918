from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foreact.transformer.attention import (
    BlockMaskedAttention,
    CachedAttention,
    ChunkedAttention,
    MaskedAttention,
    Projected,
    training_attention,
)
from foreact.transformer.cache import KVCache
from foreact.transformer.masks import ChunkLayout

HEADS, HEAD_DIM, VIDEO_TOKENS, ACTION_TOKENS = 2, 6, 3, 2

layouts = st.builds(
    lambda mode, **sizes: ChunkLayout(**sizes, **mode),
    mode=st.sampled_from([{}, {"imagines": False}, {"forward_dynamics": True}]),
    num_frames=st.integers(2, 10),
    frames_per_chunk=st.integers(1, 4),
    window=st.integers(1, 10),
)


def random_stream(num_frames: int, num_tokens: int, seed: int, batch: int = 2) -> Projected:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, num_frames, num_tokens, HEADS, HEAD_DIM)
    parts = [torch.randn(shape, generator=generator).requires_grad_() for _ in range(3)]
    return Projected(queries=parts[0], keys=parts[1], values=parts[2])


def packed_streams(layout: ChunkLayout, seed: int) -> tuple[Projected, Projected]:
    return (
        random_stream(len(layout.video_frames), VIDEO_TOKENS, seed),
        random_stream(len(layout.action_frames), ACTION_TOKENS, seed + 1),
    )


def leaves(video: Projected, action: Projected) -> list[torch.Tensor]:
    return [*vars(video).values(), *vars(action).values()]


def noisy_queries_alone(layout: ChunkLayout, stream: Projected, *, is_video: bool) -> Projected:
    num_noisy = layout.num_frames - 1 if layout.imagines or not is_video else 0
    return replace(stream, queries=stream.queries[:, :num_noisy].detach().requires_grad_())


@settings(max_examples=100)
@given(layout=layouts, seed=st.integers(0, 2**16), noisy_alone=st.booleans())
def test_fast_path_equals_the_mask_forward_and_backward(layout: ChunkLayout, seed: int, noisy_alone: bool) -> None:
    video, action = packed_streams(layout, seed)
    if noisy_alone:
        video = noisy_queries_alone(layout, video, is_video=True)
        action = noisy_queries_alone(layout, action, is_video=False)
    slow = MaskedAttention(layout)(0, video, action)
    fast = ChunkedAttention(layout)(0, video, action)
    weights = [torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)) for out in slow]
    gradients = []
    for outs in (slow, fast):
        total = sum((out * weight).sum() for out, weight in zip(outs, weights, strict=True))
        gradients.append(torch.autograd.grad(total, leaves(video, action), allow_unused=True))
    for mine, oracle in zip(fast, slow, strict=True):
        torch.testing.assert_close(mine, oracle, atol=1e-5, rtol=1e-5)
    for mine, oracle in zip(*reversed(gradients), strict=True):
        torch.testing.assert_close(mine, oracle, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "layout",
    [
        ChunkLayout(num_frames=2, frames_per_chunk=1, window=1),
        ChunkLayout(num_frames=10, frames_per_chunk=3, window=4),
        ChunkLayout(num_frames=9, frames_per_chunk=2, window=20, imagines=False),
    ],
    ids=str,
)
@torch.no_grad()
def test_block_mask_equals_the_dense_one(layout: ChunkLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plain form here; on CUDA the same block mask goes into one compiled kernel."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    streams = packed_streams(layout, seed=0)
    for mine, oracle in zip(
        BlockMaskedAttention(layout)(0, *streams), MaskedAttention(layout)(0, *streams), strict=True
    ):
        torch.testing.assert_close(mine, oracle, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_queries_left_out_change_nothing_for_the_others() -> None:
    layout = ChunkLayout(num_frames=7, frames_per_chunk=3, window=4)
    streams = packed_streams(layout, seed=0)
    noisy = [noisy_queries_alone(layout, x, is_video=index == 0) for index, x in enumerate(streams)]
    for mine, oracle in zip(MaskedAttention(layout)(0, *noisy), MaskedAttention(layout)(0, *streams), strict=True):
        assert mine.shape[1] == layout.num_frames - 1
        torch.testing.assert_close(mine, oracle[:, : layout.num_frames - 1])


def test_the_way_to_train_is_chosen_by_the_device() -> None:
    layout = ChunkLayout(num_frames=3, frames_per_chunk=1, window=1)
    assert isinstance(training_attention(layout, torch.device("meta")), MaskedAttention)
    assert isinstance(training_attention(layout, torch.device("cpu")), ChunkedAttention)
    assert isinstance(training_attention(layout, torch.device("cuda")), BlockMaskedAttention)


@pytest.mark.gpu
def test_compiled_block_mask_equals_the_dense_one_forward_and_backward() -> None:
    layout = ChunkLayout(num_frames=9, frames_per_chunk=3, window=4)
    generator = torch.Generator("cuda").manual_seed(0)

    def stream(num_frames: int, num_tokens: int) -> Projected:
        shape = (2, num_frames, num_tokens, 4, 64)
        parts = [torch.randn(shape, generator=generator, device="cuda").requires_grad_() for _ in range(3)]
        return Projected(queries=parts[0], keys=parts[1], values=parts[2])

    streams = stream(len(layout.video_frames), 24), stream(len(layout.action_frames), 16)
    outs = [attention(layout)(0, *streams) for attention in (BlockMaskedAttention, MaskedAttention)]
    gradients = [torch.autograd.grad(sum(x.square().sum() for x in pair), leaves(*streams)) for pair in outs]
    for mine, oracle in zip((*outs[0], *gradients[0]), (*outs[1], *gradients[1]), strict=True):
        torch.testing.assert_close(mine, oracle, atol=2e-3, rtol=2e-3)


def test_mask_is_applied_between_the_right_tokens() -> None:
    """One head, values that name their frame: the clean frame 0 sees itself alone."""
    layout = ChunkLayout(num_frames=3, frames_per_chunk=1, window=1)
    video, action = packed_streams(layout, 0)
    attended, _ = MaskedAttention(layout)(0, video, action)
    lone = torch.nn.functional.scaled_dot_product_attention(
        *(x[:, 2].transpose(1, 2) for x in (video.queries, video.keys, video.values))
    )
    torch.testing.assert_close(attended[:, 2], lone.transpose(1, 2).flatten(2))


def new_cache(**changes) -> KVCache:
    settings = dict(num_layers=1, batch=1, num_heads=HEADS, head_dim=HEAD_DIM, window=3, scratch_frames=2)
    return KVCache(**(settings | changes), video_tokens=VIDEO_TOKENS, action_tokens=ACTION_TOKENS)


@torch.no_grad()
def test_cached_video_never_sees_the_actions_beside_it() -> None:
    video, action = random_stream(2, VIDEO_TOKENS, 0, 1), random_stream(2, ACTION_TOKENS, 1, 1)
    alone, nothing = CachedAttention(new_cache())(0, video, None)
    beside, attended_actions = CachedAttention(new_cache())(0, video, action)
    assert nothing is None
    assert torch.equal(alone, beside)
    keys = torch.cat([video.keys.flatten(1, 2), action.keys.flatten(1, 2)], 1).transpose(1, 2)
    values = torch.cat([video.values.flatten(1, 2), action.values.flatten(1, 2)], 1).transpose(1, 2)
    queries = action.queries.flatten(1, 2).transpose(1, 2)
    seen = torch.nn.functional.scaled_dot_product_attention(queries, keys, values)
    expected = seen.transpose(1, 2).flatten(2).unflatten(1, (2, ACTION_TOKENS))
    torch.testing.assert_close(attended_actions, expected)


@torch.no_grad()
def test_a_pass_leaves_nothing_behind_until_it_is_kept() -> None:
    cache = new_cache()
    video = random_stream(2, VIDEO_TOKENS, 0, 1)
    first, _ = CachedAttention(cache)(0, video, None)
    CachedAttention(cache)(0, random_stream(2, VIDEO_TOKENS, 7, 1), None)
    again, _ = CachedAttention(cache)(0, video, None)
    assert torch.equal(first, again)
    CachedAttention(cache)(0, random_stream(1, VIDEO_TOKENS, 7, 1), None)
    cache.append_imagined(VIDEO_TOKENS)
    _, with_imagined = CachedAttention(cache)(0, None, random_stream(1, ACTION_TOKENS, 8, 1))
    cache.drop_imagined()
    _, without = CachedAttention(cache)(0, None, random_stream(1, ACTION_TOKENS, 8, 1))
    assert not torch.allclose(with_imagined, without)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_fast_path_keeps_the_type(dtype: torch.dtype) -> None:
    layout = ChunkLayout(num_frames=5, frames_per_chunk=2, window=2)
    streams = [
        Projected(**{name: x.to(dtype) for name, x in vars(stream).items()}) for stream in packed_streams(layout, 3)
    ]
    assert [out.dtype for out in ChunkedAttention(layout)(0, *streams)] == [dtype, dtype]
