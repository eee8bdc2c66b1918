import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foreact.transformer.positions import (
    action_positions,
    rotary_split,
    rotary_table,
    rotate,
    video_positions,
)


@given(half=st.integers(3, 100))
def test_split_adds_up_to_the_head(half: int) -> None:
    split = rotary_split(2 * half)
    assert sum(split) == 2 * half
    assert all(size >= 2 and size % 2 == 0 for size in split)
    assert split[1] == split[2]


def test_split_of_published_sizes() -> None:
    assert rotary_split(32) == (12, 10, 10)
    assert rotary_split(128) == (44, 42, 42)


def test_video_positions_run_along_rows_then_columns() -> None:
    positions = video_positions(torch.tensor([5.0, 6.0]), 2, 3)
    assert positions.shape == (2, 6, 3)
    assert positions[0].tolist() == [[5, r, c] for r in range(2) for c in range(3)]
    assert positions[1, :, 0].tolist() == [6] * 6


def test_actions_lie_between_latent_frames_outside_the_picture() -> None:
    positions = action_positions(torch.tensor([2.0]), 3)
    assert positions[0].tolist() == [[2.25, -1, -1], [2.5, -1, -1], [2.75, -1, -1]]


def test_whole_frame_numbers_may_be_integers() -> None:
    assert torch.equal(video_positions(torch.arange(3), 2, 2), video_positions(torch.arange(3.0), 2, 2))
    assert torch.equal(action_positions(torch.arange(3), 2), action_positions(torch.arange(3.0), 2))


def scores(queries: torch.Tensor, keys: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Products of all queries and keys turned to the positions `at` [tokens, 3]."""
    table = rotary_table(at[None], queries.shape[-1])
    turned = [rotate(x[None, None, :, None], table)[0, 0, :, 0] for x in (queries, keys)]
    return turned[0] @ turned[1].T


coordinates = st.lists(st.tuples(st.integers(0, 60), st.integers(-1, 7), st.integers(-1, 7)), min_size=2, max_size=5)


@given(
    at=coordinates,
    by=st.tuples(st.integers(-20, 200), st.integers(-5, 5), st.integers(-5, 5)),
    head_dim=st.sampled_from([6, 12, 20, 32, 64]),
)
def test_scores_depend_on_differences_of_positions_only(at: list, by: tuple, head_dim: int) -> None:
    generator = torch.Generator().manual_seed(len(at))
    queries, keys = (torch.randn(len(at), head_dim, generator=generator) for _ in range(2))
    here = torch.tensor(at, dtype=torch.float64)
    there = here + torch.tensor(by, dtype=torch.float64)
    torch.testing.assert_close(scores(queries, keys, here), scores(queries, keys, there), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_counts(axis: int) -> None:
    queries, keys = torch.randn(2, 12), torch.randn(2, 12)
    at = torch.zeros(2, 3, dtype=torch.float64)
    moved = at.clone()
    moved[1, axis] = 1.0
    assert not torch.allclose(scores(queries, keys, at), scores(queries, keys, moved), atol=1e-3)


def test_turning_keeps_lengths_and_type() -> None:
    x = torch.randn(2, 3, 4, 2, 12)
    positions = torch.rand(3, 4, 3, dtype=torch.float64) * 50
    turned = rotate(x, rotary_table(positions, 12))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    table = rotary_table(positions, 12)
    assert rotate(x.bfloat16(), table).dtype == torch.bfloat16
    assert table.turns.dtype == torch.complex64


def test_hours_of_control_lose_no_accuracy() -> None:
    """Frame 40000 is three and a half hours in."""
    queries, keys = torch.randn(6, 32), torch.randn(6, 32)
    early = video_positions(torch.arange(6.0), 1, 1)[:, 0]
    late = video_positions(40_000 + torch.arange(6.0), 1, 1)[:, 0]
    torch.testing.assert_close(scores(queries, keys, late), scores(queries, keys, early), atol=1e-4, rtol=0)
    actions = [action_positions(frames, 16)[0] for frames in (torch.tensor([0.0]), torch.tensor([40_000.0]))]
    queries, keys = torch.randn(16, 32), torch.randn(16, 32)
    early, late = (scores(queries, keys, at) for at in actions)
    torch.testing.assert_close(late, early, atol=1e-4, rtol=0)
