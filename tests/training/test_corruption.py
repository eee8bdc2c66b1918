from dataclasses import replace

import pytest
import torch
from torch import Tensor

from foreact.data.batch import Batch, collate
from foreact.errors import ConfigurationError
from foreact.training.corruption import CorruptedBatch, CorruptionConfig, corrupt
from foreact.transformer.masks import ChunkLayout

LAYOUT = ChunkLayout(num_frames=9, frames_per_chunk=4, window=4)
CHUNKS = [range(1, 5), range(5, 9)]
MAX_FRAMES = 12
CHANNELS = torch.arange(30) < 20


def generators(seeds: list[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def corrupted(batch: Batch, seeds: list[int], layout: ChunkLayout = LAYOUT, **settings) -> CorruptedBatch:
    batch = replace(batch, channel_mask=CHANNELS.expand(len(batch.actions), -1))
    config = CorruptionConfig(**settings)
    return corrupt(batch, layout, config, generators(seeds), max_frames=MAX_FRAMES)


def many(tiny, count: int = 400, **settings) -> tuple[Batch, CorruptedBatch]:
    batch = collate([tiny.sequence(9, seed=1)] * count)
    return batch, corrupted(batch, list(range(count)), **settings)


def noise_of(noisy: Tensor, velocity: Tensor, times: Tensor) -> Tensor:
    """Take the velocity back out: noisy = (1 - s) noise + s data, velocity = data - noise."""
    return noisy - times.reshape(*times.shape, *[1] * (noisy.ndim - times.ndim)) * velocity


def test_noisy_streams_lie_on_straight_paths_to_the_targets(tiny) -> None:
    batch, result = many(tiny, 3)
    targets = {"video": batch.latents.transpose(1, 2)[:, 1:], "action": batch.actions[:, 1:]}
    for kind, target in targets.items():
        stream = getattr(result, kind)
        noise = noise_of(stream.noisy, stream.velocity, stream.noisy_time)
        torch.testing.assert_close(noise + stream.velocity, target, atol=1e-5, rtol=1e-5)
        if kind == "action":
            noise = noise[..., CHANNELS]
        assert noise.mean().abs() < 0.1 and 0.9 < noise.std() < 1.1


def test_targets_are_what_was_meant_and_history_what_was_done(tiny) -> None:
    batch, result = many(tiny, 2)
    assert torch.equal(result.action.clean, batch.executed)
    assert (result.action.clean_time == 1).all()
    noise = noise_of(result.action.noisy, result.action.velocity, result.action.noisy_time)
    torch.testing.assert_close(noise + result.action.velocity, batch.actions[:, 1:], atol=1e-5, rtol=1e-5)


def test_channels_the_robot_lacks_stay_zero(tiny) -> None:
    """As at inference, where they are never noised."""
    batch = collate([tiny.sequence(9)])
    unused = ~CHANNELS & ~torch.from_numpy(tiny.embodiment().channel_mask.copy())
    stream = corrupted(batch, [0]).action
    assert unused.any()
    assert not stream.noisy[..., unused].any() and not stream.velocity[..., unused].any()
    assert stream.noisy[..., CHANNELS].all()


def test_one_flow_time_per_chunk_and_stream(tiny) -> None:
    _, result = many(tiny)
    for stream in (result.video, result.action):
        for chunk in CHUNKS:
            per_frame = stream.noisy_time[:, [frame - 1 for frame in chunk]]
            assert (per_frame == per_frame[:, :1]).all()
        assert len(stream.noisy_time[:, 0].unique()) > 390
        assert (stream.noisy_time[:, 0] != stream.noisy_time[:, 4]).all()
    assert (result.video.noisy_time[:, 0] != result.action.noisy_time[:, 0]).all()


def test_flow_times_are_uniform_before_the_shift(tiny) -> None:
    _, result = many(tiny, video_shift=3.0, action_shift=1.0)
    even = result.action.noisy_time[:, 0]
    shifted = result.video.noisy_time[:, 0]
    unshifted = 3 * shifted / (1 + 2 * shifted)
    for times in (even, unshifted):
        assert abs(times.mean() - 0.5) < 0.05
        quarters = torch.histc(times, 4, 0, 1) / len(times)
        assert (quarters - 0.25).abs().max() < 0.07
    # The median of s / (s + 3 (1 - s)) is 1/4.
    assert abs(shifted.median() - 0.25) < 0.05


def test_half_of_the_history_is_half_finished(tiny) -> None:
    batch, result = many(tiny, noisy_history_probability=0.5, noisy_history_from=0.5)
    clean = batch.latents.transpose(1, 2)
    times = result.video.clean_time
    assert (times[:, 0] == 1).all(), "what the robot saw first is real"
    assert torch.equal(result.video.clean[:, 0], clean[:, 0])
    for chunk in CHUNKS:
        assert (times[:, list(chunk)] == times[:, [chunk[0]]]).all()
        own = times[:, chunk[0]]
        replaced = own < 1
        assert 0.43 < replaced.float().mean() < 0.57
        assert own.min() >= 0.5
        assert abs(own[replaced].mean() - 0.75) < 0.03
        frames = torch.tensor(list(chunk))
        assert torch.equal(result.video.clean[:, frames][~replaced], clean[:, frames][~replaced])
        # (1 - s) noise + s data: the noise that is left has unit variance.
        s = own[replaced][:, None, None, None, None]
        noise = (result.video.clean[:, frames][replaced] - s * clean[:, frames][replaced]) / (1 - s)
        assert 0.95 < noise[s.flatten() < 0.9].std() < 1.05
    first, second = times[:, 1] < 1, times[:, 5] < 1
    assert 0.18 < (first & second).float().mean() < 0.32, "chunks draw independently"


def test_noisy_history_can_be_turned_off(tiny) -> None:
    batch, result = many(tiny, 20, noisy_history_probability=0.0)
    assert (result.video.clean_time == 1).all()
    assert torch.equal(result.video.clean, batch.latents.transpose(1, 2))


def test_history_noise_is_not_the_targets_noise(tiny) -> None:
    """Else the clean copy would give the answer away."""
    batch, result = many(tiny, 50, noisy_history_probability=1.0)
    target = noise_of(result.video.noisy, result.video.velocity, result.video.noisy_time)
    s = result.video.clean_time[:, 1:, None, None, None]
    history = (result.video.clean[:, 1:] - s * batch.latents.transpose(1, 2)[:, 1:]) / (1 - s)
    matrix = torch.stack([target[s.expand_as(target) < 0.9], history[s.expand_as(target) < 0.9]])
    assert torch.corrcoef(matrix)[0, 1].abs() < 0.05


@pytest.mark.parametrize("probability", [0.0, 0.1, 1.0])
def test_text_is_dropped_as_often_as_asked(tiny, probability: float) -> None:
    layout = ChunkLayout(num_frames=2, frames_per_chunk=1, window=1)
    batch = collate([tiny.sequence(2)] * 400)
    result = corrupted(batch, list(range(400)), layout, text_dropout=probability)
    assert abs(result.text_dropped.float().mean() - probability) < 0.05
    assert result.text_dropped.float().mean() == probability or 0 < probability < 1


def assert_same_sample(one: CorruptedBatch, at: int, other: CorruptedBatch, there: int, frames: int) -> None:
    for kind in ("video", "action"):
        for name, value in vars(getattr(one, kind)).items():
            count = frames - 1 if name in ("noisy", "noisy_time", "velocity") else frames
            theirs = getattr(getattr(other, kind), name)[there, :count]
            assert torch.equal(value[at, :count], theirs), f"{kind} {name}"
    assert one.text_dropped[at] == other.text_dropped[there]


def test_a_sample_does_not_depend_on_its_neighbours(tiny) -> None:
    short, long = tiny.sequence(5, seed=1), tiny.sequence(9, seed=2)
    together = corrupted(collate([short, long]), [7, 8])
    swapped = corrupted(collate([long, short]), [8, 7])
    small = ChunkLayout(num_frames=5, frames_per_chunk=4, window=4)
    alone = corrupted(collate([short]), [7], small)
    assert_same_sample(together, 0, swapped, 1, 9)
    assert_same_sample(alone, 0, together, 0, 5)


def test_seeds_decide(tiny) -> None:
    batch = collate([tiny.sequence(9)])
    assert_same_sample(corrupted(batch, [3]), 0, corrupted(batch, [3]), 0, 9)
    other = corrupted(batch, [4])
    assert not torch.allclose(corrupted(batch, [3]).video.noisy, other.video.noisy)


@pytest.mark.parametrize(
    "change",
    [
        {"noisy_history_probability": 1.1},
        {"noisy_history_from": -0.1},
        {"text_dropout": 2.0},
        {"video_shift": 0.0},
        {"action_shift": -1.0},
    ],
)
def test_impossible_settings_are_refused(change: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(change))):
        CorruptionConfig(**change)
