"""Chunks asked for while actions are under way: every pass equals the teacher-forced forward, and C stays as it was."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import TrainingSequence
from foreact.errors import ConfigurationError
from foreact.policy.inference import InferenceConfig
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Ahead, Rollout
from foreact.policy.trained import TrainedFor
from foreact.training.corruption import CorruptedBatch, CorruptedStream
from foreact.training.loss import network_inputs
from foreact.transformer.attention import ChunkedAttention
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import WorldActionModel
from foreact.transformer.tokens import StreamInput, patchify, unpatchify

CHUNK = 2
WORDS = "push it"
ENCODE = HashedWordEncoder(dim=8).encode


def predictor_of(model: WorldActionModel, **settings) -> Predictor:
    settings = dict(latent_frames_per_chunk=CHUNK, video_steps=2, action_steps=2, s_stop=0.6) | settings
    config = InferenceConfig(
        asynchronous=True, trained=TrainedFor(forward_dynamics=True, action_prefixes=True), **settings
    )
    return Predictor(model, config, torch.ones(30, dtype=torch.bool))


def grown(predictor: Predictor, sequence: TrainingSequence, num_frames: int, seed: int = 0) -> Rollout:
    """A rollout that has observed the first frame, then whole chunks."""
    rollout = predictor.start(ENCODE([sequence.instruction]), ENCODE([""]), seed=seed)
    for start in (0, *range(1, num_frames, CHUNK)):
        now = slice(start, 1 if start == 0 else start + CHUNK)
        predictor.append_observed(rollout, sequence.latents[:, now], sequence.executed[now])
    return rollout


def under_way(sequence: TrainingSequence, start: int, num_frames: int, **more) -> Ahead:
    return Ahead(actions=sequence.executed[start : start + num_frames], **more)


class Ear:
    """Every pass of a network, as (video input, action input, video velocity, action velocity)."""

    def __init__(self, model: WorldActionModel):
        self.passes: list[tuple] = []
        self._handle = model.register_forward_hook(self._note)

    def _note(self, module, given, velocities) -> None:
        kept = [None if x is None else replace(x, values=x.values.clone()) for x in given[:2]]
        self.passes.append((*kept, *velocities))

    def close(self) -> list[tuple]:
        self._handle.remove()
        return self.passes


def taught(
    model: WorldActionModel,
    sequence: TrainingSequence,
    layout: ChunkLayout,
    chunk: slice,
    *,
    video: StreamInput | None = None,
    action: StreamInput | None = None,
    clean: dict[int, StreamInput] | None = None,
) -> tuple[Tensor, Tensor]:
    """The chunk's velocities after one forward over the whole sequence, given what stands in for its noisy copies."""
    frames, noisy = layout.num_frames, slice(chunk.start - 1, chunk.stop - 1)
    latents = sequence.latents[:, :frames].transpose(0, 1)[None].clone()
    executed = sequence.executed[None, :frames]
    tokens = executed.shape[2]
    streams = dict(video=latents[:, 1:].clone(), action=executed[:, 1:].clone(), history=latents)
    times = dict(video=torch.full((1, frames - 1), 0.3), action=torch.full((1, frames - 1, tokens), 0.3))
    history_time = torch.ones(1, frames)
    if layout.forward_dynamics:
        times["action"] = torch.ones(1, frames - 1, tokens)
    for kind, given in (("video", video), ("action", action)):
        if given is not None:
            values = as_pictures(model, given.values) if kind == "video" else given.values
            streams[kind][:, noisy], times[kind][:, noisy] = values, given.flow_time
    for start, given in (clean or {}).items():
        place = slice(start, start + CHUNK)
        streams["history"][:, place], history_time[:, place] = as_pictures(model, given.values), given.flow_time
    corrupted = CorruptedBatch(
        video=CorruptedStream(
            noisy=streams["video"],
            noisy_time=times["video"],
            clean=streams["history"],
            clean_time=history_time,
            velocity=streams["video"],
        ),
        action=CorruptedStream(
            noisy=streams["action"],
            noisy_time=times["action"],
            clean=executed,
            clean_time=torch.ones(1, frames),
            velocity=streams["action"],
        ),
        action_given=torch.zeros(streams["action"].shape[:3], dtype=torch.bool),
        text_dropped=torch.zeros(1, dtype=torch.bool),
        channel_mask=sequence.channel_mask[None],
    )
    text = ENCODE([sequence.instruction])
    inputs = network_inputs(model, corrupted, layout)
    velocities = model(*inputs, model.read_text(text.tokens, text.lengths), ChunkedAttention(layout))
    return velocities[0][:, noisy], velocities[1][:, noisy]


def as_pictures(model: WorldActionModel, tokens: Tensor) -> Tensor:
    return unpatchify(tokens, *model.config.canvas, model.config.patch_size).transpose(1, 2)


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [64, 4])
@torch.no_grad()
def test_forward_dynamics_is_what_it_was_taught(tiny, window: int) -> None:
    """Given actions, then video: each pass against one forward in that mode; also where the window wraps."""
    model, sequence = tiny.model(), tiny.sequence(9)
    predictor = predictor_of(model, window=window)
    rollout = grown(predictor, sequence, 7)
    ear = Ear(model)
    prediction = predictor.predict(rollout, under_way(sequence, 7, CHUNK))
    given, *videos = ear.close()[:3]
    layout = ChunkLayout(num_frames=9, frames_per_chunk=CHUNK, window=window, forward_dynamics=True)
    for video in videos:
        velocity, _ = taught(model, sequence, layout, slice(7, 9), video=video[0])
        assert_close(video[2], velocity)
        assert given[3].shape[1] == 0, (
            "nobody asks for velocities of given actions: only their keys and values are kept"
        )
    last = videos[-1][0]
    guess = last.values + (1 - last.flow_time[..., None, None]) * videos[-1][2]
    assert_close(prediction.foreseen, as_pictures(model, guess)[0].transpose(0, 1))


@pytest.mark.parametrize("window", [64, 7, 5, 4, 2])
@torch.no_grad()
def test_the_chunk_after_them_sees_what_it_was_taught(tiny, window: int) -> None:
    """Frames foreseen stand for observed ones, half-finished as in training; then video and actions as ever."""
    model, sequence = tiny.model(), tiny.sequence(11)
    predictor = predictor_of(model, window=window)
    rollout = grown(predictor, sequence, 7)
    ear = Ear(model)
    predictor.predict(rollout, under_way(sequence, 7, CHUNK))
    _, _, _, both, *rest = ear.close()
    videos, half_finished, actions = rest[:2], rest[2], rest[3:]
    assert both[0].flow_time.item() == half_finished[0].flow_time.item() == pytest.approx(0.6)
    layout = ChunkLayout(num_frames=11, frames_per_chunk=CHUNK, window=window)
    foreseen = {7: both[0]}
    for video in videos:
        assert_close(video[2], taught(model, sequence, layout, slice(9, 11), video=video[0], clean=foreseen)[0])
    read = {**foreseen, 9: half_finished[0]}
    assert len(actions) == 2
    for action in actions:
        time = action[1].flow_time[..., None].expand(-1, 2, 4)
        stream = replace(action[1], flow_time=time)
        assert_close(action[3], taught(model, sequence, layout, slice(9, 11), action=stream, clean=read)[1])


@pytest.mark.parametrize("num_given", [1, 3, 4, 6])
@torch.no_grad()
def test_a_prefix_is_given_as_it_was_taught(tiny, num_given: int) -> None:
    model, sequence = tiny.model(), tiny.sequence(9)
    predictor = predictor_of(model)
    rollout, prefix = grown(predictor, sequence, 7), sequence.executed[7:9].flatten(0, 1)[:num_given]
    ear = Ear(model)
    prediction = predictor.predict(rollout, Ahead(actions=sequence.executed[:0], prefix=prefix))
    passes = ear.close()
    actions, half_finished = passes[3:], passes[2]
    layout = ChunkLayout(num_frames=9, frames_per_chunk=CHUNK, window=64)
    for action in actions:
        times = action[1].flow_time
        stream = action[1] if times.ndim == 3 else replace(action[1], flow_time=times[..., None].expand(-1, 2, 4))
        assert torch.equal(stream.values.flatten(1, 2)[0, :num_given], prefix)
        assert (stream.flow_time.flatten() == 1).tolist() == [True] * num_given + [False] * (8 - num_given)
        clean = {7: half_finished[0]}
        assert_close(action[3], taught(model, sequence, layout, slice(7, 9), action=stream, clean=clean)[1])
    assert torch.equal(prediction.actions.flatten(0, 1)[:num_given], prefix)


@pytest.mark.parametrize("window", [64, 5, 2])
@torch.no_grad()
def test_frames_believed_are_as_good_as_observed(tiny, one_thread, window: int) -> None:
    """Told where the actions lead, the next chunk is that of a rollout which saw it."""
    predictor, sequence = predictor_of(tiny.model(), window=window), tiny.sequence(7)
    seen, stored = grown(predictor, sequence, 7), grown(predictor, sequence, 5)
    expected = predictor.predict(seen)
    got = predictor.predict(stored, under_way(sequence, 5, CHUNK, latents=sequence.latents[:, 5:7]))
    assert_close(got.actions, expected.actions)
    assert_close(got.latents, expected.latents)
    assert got.foreseen is None


@pytest.mark.parametrize("window", [64, 5])
@torch.no_grad()
def test_a_prediction_that_failed_leaves_nothing_behind(tiny, one_thread, monkeypatch, window: int) -> None:
    """It failed with frames ahead in the cache, older ones put aside for them; asked again, the chunk is the same."""
    predictor, sequence = predictor_of(tiny.model(), window=window), tiny.sequence(11)
    rollout, ahead = grown(predictor, sequence, 9), under_way(sequence, 9, CHUNK)
    noise = rollout.generator.get_state()
    expected = predictor.predict(rollout, ahead)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="no more"):
        patch.setattr(predictor, "_decode_actions", lambda together: (_ for _ in ()).throw(RuntimeError("no more")))
        predictor.predict(rollout, ahead)
    rollout.generator.set_state(noise)
    again = predictor.predict(rollout, ahead)
    assert torch.equal(again.actions, expected.actions) and torch.equal(again.latents, expected.latents)


@pytest.mark.parametrize("settings", [{}, {"video_guidance": 3.0}, {"video_steps_executed": 1, "s_stop": 1.0}])
@torch.no_grad()
def test_what_was_observed_is_not_mixed_with_what_was_not(tiny, one_thread, settings: dict) -> None:
    """C after any number of asynchronous steps is the C of a rollout that made none, to the last bit."""
    predictor, sequence, kept = predictor_of(tiny.model(), window=5, **settings), tiny.sequence(15), []
    for asynchronous in (True, False):
        rollout = grown(predictor, sequence, 1)
        for start in range(1, 13, CHUNK):
            if asynchronous:
                believed = sequence.latents[:, :1] if start % 4 == 1 else None
                predictor.predict(rollout, under_way(sequence, start, 1, latents=believed))
                predictor.predict(rollout, under_way(sequence, start, 2, prefix=sequence.executed[3][:2]))
            now = slice(start, start + CHUNK)
            predictor.append_observed(rollout, sequence.latents[:, now], sequence.executed[now])
        assert (rollout.next_frame, rollout.num_observed, rollout.cache.num_imagined_tokens) == (13, 13, 0)
        kept.append(rollout.cache.observed())
        rollout.generator.manual_seed(5)
        kept.append(predictor.predict(rollout).actions)
    for mine, oracle in zip(kept[:2], kept[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, oracle, strict=True)) and len(mine)


@pytest.mark.parametrize("settings", [{}, {"video_guidance": 3.0, "action_guidance": 2.0}])
@torch.no_grad()
def test_a_batch_gives_each_what_it_gets_alone(tiny, settings: dict) -> None:
    """Nothing under way, one frame, two, believed, with a prefix: all in one batch."""
    predictor, sequence = predictor_of(tiny.model(), **settings), tiny.sequence(11)
    ahead = [
        None,
        under_way(sequence, 3, 1),
        under_way(sequence, 5, 2),
        under_way(sequence, 7, 2, latents=sequence.latents[:, 7:9]),
        under_way(sequence, 1, 1, prefix=sequence.executed[4][:3]),
    ]
    lengths = (1, 3, 5, 7, 1)
    alone, together = ([grown(predictor, sequence, n, seed=n) for n in lengths] for _ in range(2))
    expected = [predictor.predict(rollout, decided) for rollout, decided in zip(alone, ahead, strict=True)]
    got = predictor.predict_together(together, ahead)
    for mine, oracle in zip(got, expected, strict=True):
        assert_close(mine.actions, oracle.actions)
        assert_close(mine.latents, oracle.latents)
        assert (mine.foreseen is None) == (oracle.foreseen is None)
        if mine.foreseen is not None:
            assert_close(mine.foreseen, oracle.foreseen)


@torch.no_grad()
def test_without_room_nothing_is_looked_ahead(tiny) -> None:
    sequence = tiny.sequence(5)
    predictor = Predictor(tiny.model(), InferenceConfig(latent_frames_per_chunk=2), torch.ones(30, dtype=torch.bool))
    rollout = grown(predictor, sequence, 3)
    with pytest.raises(ConfigurationError, match="scratch"):
        predictor.predict(rollout, under_way(sequence, 3, 2))


@pytest.mark.parametrize("change", [{"imagines": False}, {"first_frame": "chunk"}])
def test_forward_dynamics_needs_a_policy_that_imagines_from_its_history(change: dict) -> None:
    with pytest.raises(ConfigurationError, match="forward_dynamics"):
        TrainedFor(forward_dynamics=True, **change)


def test_patches_come_back(tiny) -> None:
    """What the oracle above rests on."""
    latents = tiny.sequence(3).latents[None]
    model = tiny.model()
    assert torch.equal(as_pictures(model, patchify(latents, model.config.patch_size)), latents.transpose(1, 2))
