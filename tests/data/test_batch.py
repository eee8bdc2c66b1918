from collections import Counter
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foreact.data.batch import SequenceSampler, TrainingSequence, collate
from foreact.errors import DatasetError

TENSORS = ("latents", "actions", "executed", "action_valid", "frame_valid", "channel_mask")


def equal(one: TrainingSequence, other: TrainingSequence) -> bool:
    return one.instruction == other.instruction and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in TENSORS
    )


def numbered(tiny, num_frames: int, number: int = 0) -> TrainingSequence:
    """Latents that hold 100 times the episode's number plus the frame's."""
    sequence = tiny.sequence(num_frames, seed=number)
    frames = 100.0 * number + torch.arange(num_frames, dtype=torch.float32)
    return replace(sequence, latents=frames[None, :, None, None].expand(4, -1, 4, 4).clone())


def first_frame(sequence: TrainingSequence) -> int:
    return int(sequence.latents[0, 0, 0, 0].item())


def test_every_tensor_is_named_here() -> None:
    assert {field.name for field in fields(TrainingSequence)} == {*TENSORS, "instruction", "name"}


def test_crop(tiny) -> None:
    sequence = numbered(tiny, 9)
    part = sequence.crop(3, 4)
    assert part.num_frames == 4
    assert part.latents[0, :, 0, 0].tolist() == [3, 4, 5, 6]
    assert torch.equal(part.actions, sequence.actions[3:7])
    assert torch.equal(part.executed, sequence.executed[3:7])
    assert part.action_valid.shape == (4, 4) and part.frame_valid.shape == (4,)
    assert part.instruction == sequence.instruction


@given(num_frames=st.integers(2, 12), chunk=st.integers(1, 5))
def test_whole_chunks_by_repeating_what_does_not_count(tiny, num_frames: int, chunk: int) -> None:
    sequence = tiny.sequence(num_frames)
    filled = sequence.fill_chunks(chunk)
    assert (filled.num_frames - 1) % chunk == 0
    assert 0 <= filled.num_frames - num_frames < chunk
    assert equal(filled.crop(0, num_frames), sequence)
    assert not filled.frame_valid[num_frames:].any() and not filled.action_valid[num_frames:].any()
    for frame in range(num_frames, filled.num_frames):
        assert torch.equal(filled.latents[:, frame], sequence.latents[:, -1])
        assert torch.equal(filled.executed[frame], sequence.executed[-1])


def test_filling_never_writes_into_the_sequence(tiny) -> None:
    for chunk in (1, 4):
        sequence = tiny.sequence(4)
        sequence.fill_chunks(chunk)
        assert sequence.frame_valid.all() and sequence.action_valid.all()


def test_collate_pads_at_the_end_with_what_does_not_count(tiny) -> None:
    sequences = [tiny.sequence(3, seed=1), tiny.sequence(5, seed=2, instruction="pull")]
    batch = collate(sequences)
    assert batch.num_frames == 5
    assert batch.instructions == ("push it", "pull")
    for index, sequence in enumerate(sequences):
        count = sequence.num_frames
        assert torch.equal(batch.latents[index, :, :count], sequence.latents)
        assert torch.equal(batch.actions[index, :count], sequence.actions)
        assert torch.equal(batch.executed[index, :count], sequence.executed)
        assert batch.frame_valid[index].tolist() == [True] * count + [False] * (5 - count)
        assert not batch.action_valid[index, count:].any() and batch.action_valid[index, :count].all()
        assert not batch.latents[index, :, count:].any() and not batch.actions[index, count:].any()


def test_draws_depend_on_seed_step_and_index_alone(tiny) -> None:
    sources = [[numbered(tiny, 12, n) for n in range(4)]]
    first, again, other = (SequenceSampler(sources, max_frames=5, seed=seed) for seed in (1, 1, 2))
    backwards = [again.draw(s, i) for s in reversed(range(6)) for i in reversed(range(4))]
    drawn = [first.draw(s, i) for s in range(6) for i in range(4)]
    assert all(equal(a, b) for a, b in zip(drawn, reversed(backwards), strict=True))
    differing = [other.draw(s, i) for s in range(6) for i in range(4)]
    assert not all(equal(a, b) for a, b in zip(drawn, differing, strict=True))
    assert len({first_frame(sequence) for sequence in drawn}) > 8


def test_sources_are_drawn_uniformly_whatever_their_size(tiny) -> None:
    small, large = [numbered(tiny, 3, 0)], [numbered(tiny, 3, n) for n in range(1, 10)]
    sampler = SequenceSampler([small, large], max_frames=8, seed=0)
    counts = Counter(first_frame(sampler.draw(step, 0)) // 100 for step in range(2000))
    assert 900 < counts[0] < 1100
    assert all(60 < counts[n] < 170 for n in range(1, 10))


def test_long_sequences_are_cropped_everywhere_and_short_ones_are_whole(tiny) -> None:
    sampler = SequenceSampler([[numbered(tiny, 8)]], max_frames=5, seed=0)
    drawn = [sampler.draw(step, 0) for step in range(200)]
    assert {sequence.num_frames for sequence in drawn} == {5}
    assert {first_frame(sequence) for sequence in drawn} == {0, 1, 2, 3}
    whole = SequenceSampler([[numbered(tiny, 5)]], max_frames=5, seed=0).draw(0, 0)
    assert whole.num_frames == 5


@pytest.mark.parametrize("sources", [[], [[]]])
def test_nothing_to_draw_from_is_refused(sources: list) -> None:
    with pytest.raises(DatasetError, match="without episodes"):
        SequenceSampler(sources, max_frames=5, seed=0)
