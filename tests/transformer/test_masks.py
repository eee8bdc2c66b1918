"""The mask against who sees whom, written out token by token as the module's docstring says it."""

import itertools
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foreact.errors import ConfigurationError
from foreact.transformer.masks import ChunkLayout, training_mask


class Token(NamedTuple):
    kind: str
    clean: bool
    frame: int


def packed_tokens(layout: ChunkLayout, video_tokens: int, action_tokens: int) -> list[Token]:
    noisy, clean = range(1, layout.num_frames), range(layout.num_frames)
    video = [Token("video", False, f) for f in noisy] if layout.imagines else []
    video += [Token("video", True, f) for f in clean]
    action = [Token("action", False, f) for f in noisy] + [Token("action", True, f) for f in clean]
    repeated = [[t] * video_tokens for t in video] + [[t] * action_tokens for t in action]
    return list(itertools.chain(*repeated))


def chunk_of(frame: int, frames_per_chunk: int) -> int:
    return 0 if frame == 0 else 1 + (frame - 1) // frames_per_chunk


def sees(query: Token, key: Token, layout: ChunkLayout) -> bool:
    """Plain words: history, oneself, and the video of the chunk that actions are decoded from."""
    size = layout.frames_per_chunk
    mine, theirs = chunk_of(query.frame, size), chunk_of(key.frame, size)
    if theirs > mine:
        return False
    if theirs < mine:
        first_of_my_chunk = 1 + (mine - 1) * size
        return key.clean and key.frame >= first_of_my_chunk - layout.window
    if query.kind == key.kind:
        return query.clean == key.clean
    if layout.forward_dynamics and not (query.clean or key.clean):
        return query.kind == "video"
    if query.kind == "video":
        return False
    if query.clean:
        return key.clean
    return key.clean and layout.imagines and not layout.forward_dynamics


layouts = st.builds(
    lambda mode, **sizes: ChunkLayout(**sizes, **mode),
    mode=st.sampled_from([{}, {"imagines": False}, {"forward_dynamics": True}]),
    num_frames=st.integers(2, 11),
    frames_per_chunk=st.integers(1, 5),
    window=st.integers(1, 12),
)


@given(layout=layouts, video_tokens=st.integers(1, 3), action_tokens=st.integers(1, 3))
def test_mask_is_who_sees_whom(layout: ChunkLayout, video_tokens: int, action_tokens: int) -> None:
    tokens = packed_tokens(layout, video_tokens, action_tokens)
    expected = [[sees(query, key, layout) for key in tokens] for query in tokens]
    assert torch.equal(training_mask(layout, video_tokens, action_tokens), torch.tensor(expected))


@given(layout=layouts)
def test_chunks_follow_each_other_without_gap(layout: ChunkLayout) -> None:
    assert layout.chunks[0] == (0, 1)
    frames = [frame for start, stop in layout.chunks for frame in range(start, stop)]
    assert frames == list(range(layout.num_frames))
    assert all(stop - start == layout.frames_per_chunk for start, stop in layout.chunks[1:-1])
    assert 1 <= layout.chunks[-1][1] - layout.chunks[-1][0] <= layout.frames_per_chunk


@given(layout=layouts)
def test_no_token_is_blind_and_no_noisy_token_is_seen_from_outside(layout: ChunkLayout) -> None:
    mask = training_mask(layout, 1, 1)
    assert mask.diagonal().all()
    tokens = packed_tokens(layout, 1, 1)
    for query, key in itertools.product(range(len(tokens)), repeat=2):
        if mask[query, key] and not tokens[key].clean:
            foresees = layout.forward_dynamics and tokens[query].kind == "video"
            assert not tokens[query].clean and (foresees or tokens[query].kind == tokens[key].kind)


@given(layout=layouts)
def test_given_actions_never_learn_where_they_lead(layout: ChunkLayout) -> None:
    """Nothing that the noisy video of a chunk sees, however many layers deep, has seen its clean video."""
    if not layout.forward_dynamics:
        return
    tokens, mask = packed_tokens(layout, 1, 1), training_mask(layout, 1, 1)
    for _ in range(4):
        mask = mask | (mask.float() @ mask.float() > 0)
    for query, token in enumerate(tokens):
        if token == Token("video", False, token.frame):
            mine = chunk_of(token.frame, layout.frames_per_chunk)
            seen = [t for t, visible in zip(tokens, mask[query].tolist(), strict=True) if visible and t.clean]
            assert all(chunk_of(t.frame, layout.frames_per_chunk) < mine for t in seen)


def test_packed_frames() -> None:
    layout = ChunkLayout(num_frames=4, frames_per_chunk=2, window=3)
    assert layout.video_frames.tolist() == layout.action_frames.tolist() == [1, 2, 3, 0, 1, 2, 3]
    reactive = ChunkLayout(num_frames=4, frames_per_chunk=2, window=3, imagines=False)
    assert reactive.video_frames.tolist() == [0, 1, 2, 3]
    assert reactive.action_frames.tolist() == [1, 2, 3, 0, 1, 2, 3]


def test_history_is_the_window_before_the_chunk() -> None:
    layout = ChunkLayout(num_frames=12, frames_per_chunk=3, window=4)
    assert [layout.history_start(start) for start, _ in layout.chunks] == [0, 0, 0, 3, 6]


def test_a_policy_that_does_not_imagine_foresees_nothing() -> None:
    with pytest.raises(ConfigurationError, match="forward dynamics"):
        ChunkLayout(num_frames=4, frames_per_chunk=2, window=3, imagines=False, forward_dynamics=True)


@pytest.mark.parametrize("change", [{"num_frames": 1}, {"frames_per_chunk": 0}, {"window": 0}])
def test_impossible_layouts_are_refused(change: dict) -> None:
    with pytest.raises(ConfigurationError, match="chunk layout"):
        ChunkLayout(**({"num_frames": 5, "frames_per_chunk": 2, "window": 2} | change))
