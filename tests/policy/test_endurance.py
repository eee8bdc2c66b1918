"""Hours of control: the cache stays right however often it wraps, and positions never run out."""

import numpy as np
import pytest
import torch

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import TrainingSequence
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Prediction, Rollout
from foreact.transformer.positions import ROTARY_BASE, action_positions, rotary_split, rotary_table, rotate

CHUNK, NUM_CHUNKS, WINDOW = 2, 200, 5
HOURS = 1_000_000
"""A latent frame's number after 89 hours of three latent frames a second."""


def predictor_of(tiny, **sizes) -> Predictor:
    config = tiny.inference(latent_frames_per_chunk=CHUNK, window=WINDOW, s_stop=0.6)
    return Predictor(tiny.model(**sizes), config, torch.ones(30, dtype=torch.bool))


def begin(predictor: Predictor, first_frame: int = 0) -> Rollout:
    """A rollout whose next frame has that number; nothing has been seen before."""
    encode = HashedWordEncoder(dim=8).encode
    rollout = predictor.start(encode(["push the cube"]), encode([""]), seed=0)
    rollout.cache.num_observed = first_frame
    return rollout


def append(predictor: Predictor, rollout: Rollout, sequence: TrainingSequence, frames: slice) -> None:
    predictor.append_observed(rollout, sequence.latents[:, frames], sequence.executed[frames])


def predict(predictor: Predictor, rollout: Rollout) -> Prediction:
    """From the same noise whatever happened before."""
    rollout.generator.manual_seed(7)
    return predictor.predict(rollout)


def assert_close(one: Prediction, other: Prediction, tolerance: float) -> None:
    for mine, oracle in ((one.actions, other.actions), (one.latents, other.latents)):
        torch.testing.assert_close(mine, oracle, atol=tolerance, rtol=tolerance)


@pytest.fixture(scope="module")
def long_sequence(tiny) -> TrainingSequence:
    return tiny.sequence(1 + CHUNK * NUM_CHUNKS, seed=3)


def driven(predictor: Predictor, sequence: TrainingSequence) -> Rollout:
    """A rollout that has seen all of the sequence, chunk by chunk, and predicted now and then on the way."""
    rollout = begin(predictor)
    append(predictor, rollout, sequence, slice(0, 1))
    for chunk in range(NUM_CHUNKS):
        if chunk % 50 == 0:
            predictor.predict(rollout)
        append(predictor, rollout, sequence, slice(1 + CHUNK * chunk, 1 + CHUNK * (chunk + 1)))
    assert rollout.next_frame == sequence.num_frames
    return rollout


def last_frames(predictor: Predictor, sequence: TrainingSequence, *, without_last: int = 0) -> Rollout:
    """A new cache that holds the frames of one window, under the numbers of the last ones."""
    rollout = begin(predictor, sequence.num_frames - WINDOW)
    stop = sequence.num_frames - without_last
    for frame in range(stop - WINDOW, stop):
        append(predictor, rollout, sequence, slice(frame, frame + 1))
    return rollout


@torch.no_grad()
def test_a_window_that_wrapped_eighty_times_is_its_last_frames_seen_afresh(tiny, long_sequence) -> None:
    """One layer: keys and values of a frame depend on that frame alone, whatever it saw when it was appended."""
    predictor = predictor_of(tiny, num_layers=1)
    wrapped = predict(predictor, driven(predictor, long_sequence))
    assert_close(wrapped, predict(predictor, last_frames(predictor, long_sequence)), 1e-5)
    other = predict(predictor, last_frames(predictor, long_sequence, without_last=1))
    assert not torch.allclose(wrapped.actions, other.actions, atol=1e-3)


@pytest.fixture(scope="module")
def two_layers(tiny, long_sequence) -> tuple[Predictor, Rollout]:
    """Predicting leaves no trace in a rollout, so one serves all tests."""
    predictor = predictor_of(tiny, num_layers=2)
    return predictor, driven(predictor, long_sequence)


@pytest.mark.parametrize("begun_before", [20, 21, 24])
@torch.no_grad()
def test_what_left_the_window_is_forgotten_for_good(two_layers, long_sequence, begun_before: int) -> None:
    """Each layer hears of the window before through the layer below it; a rollout begun earlier than that is the same.

    It begins at other places in the ring, with nothing in it but zeros.
    """
    predictor, rollout = two_layers
    start, first = long_sequence.num_frames - begun_before, begun_before % CHUNK
    late = begin(predictor, start)
    if first:
        append(predictor, late, long_sequence, slice(start, start + first))
    for frame in range(start + first, long_sequence.num_frames, CHUNK):
        append(predictor, late, long_sequence, slice(frame, frame + CHUNK))
    assert late.next_frame == rollout.next_frame
    assert_close(predict(predictor, late), predict(predictor, rollout), 1e-5)


@torch.no_grad()
def test_a_millionth_frame_is_like_the_first(tiny) -> None:
    """Only differences of positions count, and they are the same there, to the last digits of float32."""
    predictor, sequence, predictions = predictor_of(tiny), tiny.sequence(15, seed=3), []
    for first_frame in (0, HOURS):
        rollout = begin(predictor, first_frame)
        for start, stop in ((0, 1), (1, 3), (3, 5), (5, 7), (7, 9), (9, 11), (11, 13), (13, 15)):
            append(predictor, rollout, sequence, slice(start, stop))
        predictions.append(predict(predictor, rollout))
    assert_close(*predictions, 1e-4)


def test_angles_at_the_millionth_frame_are_exact() -> None:
    """Against angles in extended precision; float32 angles would be wrong in the third digit there."""
    head_dim, num_actions = 32, 16
    size = rotary_split(head_dim)[0]
    table = rotary_table(action_positions(torch.tensor([HOURS]), num_actions), head_dim)
    ones = torch.stack([torch.ones(head_dim // 2), torch.zeros(head_dim // 2)], dim=-1).flatten()
    turned = rotate(ones.expand(1, 1, num_actions, 1, head_dim).contiguous(), table)[0, 0, :, 0, :size]
    wide = np.longdouble
    time = wide(HOURS) + np.arange(1, num_actions + 1, dtype=wide) / wide(num_actions + 1)
    frequencies = wide(ROTARY_BASE) ** (-np.arange(0, size, 2, dtype=wide) / wide(size))
    angles = time[:, None] * frequencies
    exact = np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(num_actions, size).astype(np.float64)
    np.testing.assert_allclose(turned.double().numpy(), exact, atol=1e-7, rtol=0)
    rounded = np.cos(angles.astype(np.float32))
    assert np.abs(rounded - exact.reshape(num_actions, -1, 2)[..., 0]).max() > 1e-3
