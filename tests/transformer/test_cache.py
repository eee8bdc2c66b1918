"""The ring and the scratch space, on entries that carry the number of the frame they belong to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foreact.errors import ConfigurationError
from foreact.transformer.cache import KVCache

VIDEO, ACTION, LAYERS = 3, 2, 2
MARK = -1.0
"""What a query's own entries hold."""


def new_cache(**changes) -> KVCache:
    settings = dict(num_layers=LAYERS, batch=1, num_heads=1, head_dim=2, window=4, scratch_frames=3)
    return KVCache(**(settings | changes), video_tokens=VIDEO, action_tokens=ACTION)


def entries(frames: list[int], per_frame: int, offset: float, rows: int = 1) -> torch.Tensor:
    numbers = torch.tensor(frames, dtype=torch.float32).repeat_interleave(per_frame) + offset
    return numbers[None, None, :, None].expand(rows, 1, -1, 2).contiguous()


def observe(cache: KVCache, frames: list[int], rows: int = 1) -> None:
    passed(cache, frames, rows)
    cache.append_observed(len(frames))


def passed(cache: KVCache, frames: list[int], rows: int = 1) -> None:
    """Video entries of frame f hold f + 0.25 in layer 0, actions f + 0.5; layer 1 ten thousand more; values negated."""
    for layer in range(LAYERS):
        video = entries(frames, VIDEO, 0.25 + 10_000 * layer, rows)
        action = entries(frames, ACTION, 0.5 + 10_000 * layer, rows)
        cache.write_scratch(layer, video, -video, len(frames) * VIDEO)
        cache.write_scratch(layer, action, -action, len(frames) * (VIDEO + ACTION))


def seen(cache: KVCache, layer: int = 0) -> tuple[list[float], list[float]]:
    """What one query of a new pass would see, its own entry left out, sorted."""
    own = torch.full((1, 1, 1, 2), MARK)
    keys, values = cache.write_scratch(layer, own, own, 1)
    assert torch.equal(keys[..., 0], keys[..., 1])
    columns = [keys[0, 0, :, 0].tolist(), values[0, 0, :, 0].tolist()]
    for column in columns:
        column.remove(MARK)
    return sorted(columns[0]), sorted(-value for value in columns[1])


def expected(frames: range, layer: int = 0) -> list[float]:
    shift = 10_000 * layer
    return sorted([f + 0.25 + shift for f in frames] * VIDEO + [f + 0.5 + shift for f in frames] * ACTION)


@given(window=st.integers(1, 6), steps=st.lists(st.integers(1, 3), min_size=1, max_size=12))
def test_ring_holds_exactly_the_last_frames(window: int, steps: list[int]) -> None:
    cache, count = new_cache(window=window), 0
    for step in steps:
        observe(cache, list(range(count, count + step)))
        count += step
        kept = range(max(0, count - window), count)
        for layer in range(LAYERS):
            assert seen(cache, layer) == (expected(kept, layer), expected(kept, layer))
    assert cache.num_observed == count


def test_memory_is_bounded() -> None:
    cache = new_cache()
    assert cache.num_bytes == 2 * 4 * LAYERS * (4 + 3) * (VIDEO + ACTION) * 2
    before = cache.num_bytes
    for frame in range(50):
        observe(cache, [frame])
    assert cache.num_bytes == before


def test_more_frames_at_once_than_the_window_holds() -> None:
    cache = new_cache(window=2)
    observe(cache, [0, 1, 2])
    assert seen(cache)[0] == expected(range(1, 3))
    observe(cache, [3, 4, 5])
    assert seen(cache)[0] == expected(range(4, 6))


def test_imagining_never_evicts_history() -> None:
    cache = new_cache()
    for frame in range(6):
        observe(cache, [frame])
    imagined = torch.full((1, 1, 2 * VIDEO, 2), 77.0)
    for _ in range(3):
        cache.write_scratch(0, imagined, -imagined, 2 * VIDEO)
        cache.append_imagined(2 * VIDEO)
        assert seen(cache)[0] == expected(range(2, 6)) + [77.0] * 2 * VIDEO
        assert cache.num_imagined_tokens == 2 * VIDEO
        cache.drop_imagined()
    assert seen(cache)[0] == expected(range(2, 6))


@given(
    window=st.integers(1, 5),
    num_observed=st.integers(1, 9),
    ahead=st.lists(st.integers(1, 3), min_size=1, max_size=2),
)
def test_frames_ahead_count_as_observed_until_they_are_dropped(
    window: int, num_observed: int, ahead: list[int]
) -> None:
    cache, count = new_cache(window=window, scratch_frames=10), num_observed
    for frame in range(num_observed):
        observe(cache, [frame])
    for num_frames in ahead:
        passed(cache, list(range(count, count + num_frames)))
        cache.append_ahead(num_frames)
        count += num_frames
        for layer in range(LAYERS):
            assert seen(cache, layer) == (expected(range(max(0, count - window), count), layer),) * 2
    assert (cache.num_observed, cache.num_ahead) == (num_observed, sum(ahead))
    with pytest.raises(ConfigurationError, match="frames ahead"):
        cache.append_observed(1)
    cache.drop_imagined()
    for layer in range(LAYERS):
        assert seen(cache, layer) == (expected(range(max(0, num_observed - window), num_observed), layer),) * 2


def test_frames_put_aside_are_not_written_over() -> None:
    cache = new_cache(scratch_frames=2)
    for frame in range(5):
        observe(cache, [frame])
    passed(cache, [5])
    cache.append_ahead(1)
    much = torch.zeros(1, 1, VIDEO + ACTION + 1, 2)
    with pytest.raises(ConfigurationError, match=f"at most {VIDEO + ACTION}"):
        cache.write_scratch(0, much, much, VIDEO + ACTION + 1)
    cache.drop_imagined()
    assert seen(cache)[0] == expected(range(1, 5))


def test_fewer_rows_use_the_first_ones() -> None:
    cache = new_cache(batch=2)
    observe(cache, [0], rows=2)
    one = torch.full((1, 1, 1, 2), MARK)
    keys, _ = cache.write_scratch(0, one, one, 1)
    assert keys.shape == (1, 1, 1 + VIDEO + ACTION, 2)
    two = torch.full((2, 1, 1, 2), MARK)
    keys, _ = cache.write_scratch(0, two, two, 1)
    assert torch.equal(keys[0], keys[1])


def test_scratch_overflow_is_refused() -> None:
    cache = new_cache(scratch_frames=1)
    much = torch.zeros(1, 1, VIDEO + ACTION + 1, 2)
    with pytest.raises(ConfigurationError, match="scratch_frames"):
        cache.write_scratch(0, much, much, VIDEO + ACTION + 1)


def test_observing_beside_imagined_entries_is_refused() -> None:
    cache = new_cache()
    cache.append_imagined(VIDEO)
    with pytest.raises(ConfigurationError, match="drop_imagined"):
        cache.append_observed(1)


@pytest.mark.parametrize("change", [{"window": 0}, {"scratch_frames": 0}])
def test_empty_caches_are_refused(change: dict) -> None:
    with pytest.raises(ConfigurationError, match="KV cache"):
        new_cache(**change)


@given(window=st.integers(1, 4), before=st.integers(1, 9), num_frames=st.integers(1, 2), imagines=st.booleans())
def test_what_actions_see_is_said_in_the_order_in_which_it_lies(window, before, num_frames, imagines) -> None:
    cache = new_cache(window=window)
    for frame in range(before):
        observe(cache, [frame])
    new = list(range(before, before + num_frames))
    if imagines:
        video = entries(new, VIDEO, 0.25)
        cache.write_scratch(0, video, -video, num_frames * VIDEO)
        cache.append_imagined(num_frames * VIDEO)
    own = entries(new, ACTION, 0.5)
    keys, _ = cache.write_scratch(0, own, -own, num_frames * ACTION)
    said = cache.seen_by_actions(num_frames)
    assert keys[0, 0, :, 0].tolist() == [frame + (0.5 if is_action else 0.25) for frame, is_action, _ in said]
    for frame, is_action in {entry[:2] for entry in said}:
        tokens = [token for *kind, token in said if kind == [frame, is_action]]
        assert tokens == list(range(ACTION if is_action else VIDEO)), "tokens of a frame lie in their order"
