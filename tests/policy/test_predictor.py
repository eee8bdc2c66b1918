"""Cached, chunk by chunk = one teacher-forced forward under the training mask; and what a rollout keeps to itself.

The oracle listens to every pass of the network that the predictor makes, and asks the training forward for the
velocity of the same noisy values: the passes that matter are those really made, none is made up here.
"""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import TrainingSequence
from foreact.errors import ConfigurationError
from foreact.policy.predictor import InferenceConfig, Predictor, Rollout
from foreact.training.corruption import CorruptedBatch, CorruptedStream
from foreact.training.loss import network_inputs
from foreact.transformer.attention import ChunkedAttention, JointAttention, MaskedAttention
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import WorldActionModel
from foreact.transformer.tokens import unpatchify

TEXT = HashedWordEncoder(dim=8)
WORDS = "push the cube"


@dataclass
class Pass:
    """One forward of the network."""

    kind: str
    values: Tensor
    flow_time: float
    velocity: Tensor


class Listener:
    """Writes down every pass of a network."""

    def __init__(self, model: WorldActionModel):
        self.passes: list[Pass] = []
        self._handle = model.register_forward_hook(self._note)

    def _note(self, module, given, velocities) -> None:
        for kind, stream, velocity in zip(("video", "action"), given[:2], velocities, strict=True):
            if stream is not None:
                time = stream.flow_time.unique()
                self.passes.append(Pass(kind, stream.values.clone(), time.item(), velocity.clone()))

    def close(self) -> list[Pass]:
        self._handle.remove()
        return self.passes


def predictor_of(model: WorldActionModel, **settings) -> Predictor:
    settings = {"video_steps": 2, "action_steps": 2, "s_stop": 0.6, "action_shift": 1.5} | settings
    return Predictor(model, InferenceConfig(**settings), torch.ones(30, dtype=torch.bool))


def started(predictor: Predictor, sequence: TrainingSequence, *, seed: int = 0) -> Rollout:
    rollout = predictor.start(TEXT.encode([WORDS]), TEXT.encode([""]), seed=seed)
    predictor.append_observed(rollout, sequence.latents[:, :1], sequence.executed[:1])
    return rollout


def append(predictor: Predictor, rollout: Rollout, sequence: TrainingSequence, chunk: slice) -> None:
    predictor.append_observed(rollout, sequence.latents[:, chunk], sequence.executed[chunk])


def by_frame(tokens: Tensor, model: WorldActionModel) -> Tensor:
    """Video tokens [1, frames, tokens, patch] as training holds them, [1, frames, channels, height, width]."""
    return unpatchify(tokens, *model.config.canvas).transpose(1, 2)


def teacher_forced(
    model: WorldActionModel,
    sequence: TrainingSequence,
    layout: ChunkLayout,
    chunk: slice,
    attention: JointAttention,
    *,
    noisy_video: Pass | None,
    noisy_action: Pass | None,
    half_finished: Pass | None,
) -> tuple[Tensor | None, Tensor]:
    """Velocities of the noisy copies of one chunk, after one forward over the whole sequence."""
    noisy = slice(chunk.start - 1, chunk.stop - 1)
    latents, frames = sequence.latents.transpose(0, 1)[None], layout.num_frames
    video, video_time = latents[:, 1:].clone(), torch.full((1, frames - 1), 0.3)
    clean, clean_time = latents.clone(), torch.ones(1, frames)
    action, action_time = sequence.actions[None, 1:].clone(), torch.full((1, frames - 1), 0.3)
    if noisy_video is not None:
        video[:, noisy], video_time[:, noisy] = by_frame(noisy_video.values, model), noisy_video.flow_time
    if half_finished is not None:
        clean[:, chunk], clean_time[:, chunk] = by_frame(half_finished.values, model), half_finished.flow_time
    if noisy_action is not None:
        action[:, noisy], action_time[:, noisy] = noisy_action.values, noisy_action.flow_time
    corrupted = CorruptedBatch(
        video=CorruptedStream(noisy=video, noisy_time=video_time, clean=clean, clean_time=clean_time, velocity=video),
        action=CorruptedStream(
            noisy=action,
            noisy_time=action_time,
            clean=sequence.executed[None],
            clean_time=torch.ones(1, frames),
            velocity=action,
        ),
        text_dropped=torch.zeros(1, dtype=torch.bool),
    )
    text = TEXT.encode([WORDS])
    inputs = network_inputs(model, corrupted, layout)
    velocities = model(*inputs, model.read_text(text.tokens, text.lengths), attention)
    return velocities[0][:, noisy] if layout.imagines else None, velocities[1][:, noisy]


CASES = {
    "everything in the window": dict(chunk=3, window=64),
    "window wraps": dict(chunk=2, window=4),
    "chunk does not divide the window": dict(chunk=2, window=5),
    "chunk longer than the window": dict(chunk=3, window=2),
    "single frames": dict(chunk=1, window=3),
    "factorized actions": dict(chunk=2, window=3, action_projection="factorized"),
    "reactive": dict(chunk=2, window=5, imagines=False),
    "imagined to the end": dict(chunk=2, window=5, s_stop=1.0),
    "not imagined at all": dict(chunk=2, window=5, s_stop=0.0, video_steps=0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@torch.no_grad()
def test_rollout_equals_one_teacher_forced_forward(tiny, case: dict) -> None:
    case = dict(case)
    chunk_size, window = case.pop("chunk"), case.pop("window")
    sizes = {name: case.pop(name) for name in ("action_projection",) if name in case}
    model = tiny.model(**sizes)
    predictor = predictor_of(model, latent_frames_per_chunk=chunk_size, window=window, **case)
    config, num_chunks = predictor.config, 7 if chunk_size < 3 else 4
    sequence = tiny.sequence(1 + num_chunks * chunk_size)
    layout = ChunkLayout(
        num_frames=sequence.num_frames,
        frames_per_chunk=chunk_size,
        window=window,
        imagines=config.imagines,
    )
    rollout = started(predictor, sequence)
    compared = 0
    for index, (start, stop) in enumerate(layout.chunks[1:]):
        chunk = slice(start, stop)
        listener = Listener(model)
        predictor.predict(rollout)
        passes = listener.close()
        videos, actions = ([p for p in passes if p.kind == kind] for kind in ("video", "action"))
        assert len(actions) == config.action_steps
        half_finished = videos.pop() if config.imagines else None
        assert len(videos) == (config.video_steps if config.imagines else 0)
        assert half_finished is None or half_finished.flow_time == pytest.approx(config.s_stop)
        fast, slow = ChunkedAttention(layout), MaskedAttention(layout)
        for video in videos:
            oracle, _ = teacher_forced(
                model,
                sequence,
                layout,
                chunk,
                slow if index % 2 else fast,
                noisy_video=video,
                noisy_action=None,
                half_finished=half_finished,
            )
            torch.testing.assert_close(video.velocity, oracle, atol=1e-5, rtol=1e-5)
            compared += 1
        for action in actions:
            _, oracle = teacher_forced(
                model,
                sequence,
                layout,
                chunk,
                fast if index % 2 else slow,
                noisy_video=None,
                noisy_action=action,
                half_finished=half_finished,
            )
            torch.testing.assert_close(action.velocity, oracle, atol=1e-5, rtol=1e-5)
            compared += 1
        append(predictor, rollout, sequence, chunk)
    assert compared == num_chunks * (config.action_steps + (config.video_steps if config.imagines else 0))
    assert rollout.next_frame == sequence.num_frames


@torch.no_grad()
def test_the_oracle_tells_a_forgotten_frame(tiny) -> None:
    """The same comparison with a window one frame too long fails: what leaves the window is really gone."""
    model = tiny.model()
    predictor, sequence = predictor_of(model, latent_frames_per_chunk=2, window=3), tiny.sequence(9)
    rollout = started(predictor, sequence)
    for start in (1, 3, 5):
        append(predictor, rollout, sequence, slice(start, start + 2))
    listener = Listener(model)
    predictor.predict(rollout)
    passes = listener.close()
    differences = []
    for window in (3, 4):
        layout = ChunkLayout(num_frames=9, frames_per_chunk=2, window=window)
        oracle, _ = teacher_forced(
            model,
            sequence,
            layout,
            slice(7, 9),
            MaskedAttention(layout),
            noisy_video=passes[0],
            noisy_action=None,
            half_finished=passes[2],
        )
        differences.append((passes[0].velocity - oracle).abs().max().item())
    assert differences[0] < 1e-5 < 1e-3 < differences[1]


@pytest.mark.parametrize("settings", [{}, {"video_guidance": 3.0}, {"imagines": False}])
@torch.no_grad()
def test_imagining_changes_nothing_that_comes_later(tiny, one_thread, settings: dict) -> None:
    predictor = predictor_of(tiny.model(), latent_frames_per_chunk=2, window=3, **settings)
    sequence, results = tiny.sequence(9), []
    for imagining in (True, False):
        rollout = started(predictor, sequence)
        for start in (1, 3, 5, 7):
            for _ in range(2 if imagining else 0):
                predictor.predict(rollout)
            append(predictor, rollout, sequence, slice(start, start + 2))
        rollout.generator.manual_seed(11)
        results.append(predictor.predict(rollout))
    assert torch.equal(results[0].actions, results[1].actions)
    if results[0].latents is not None:
        assert torch.equal(results[0].latents, results[1].latents)


@torch.no_grad()
def test_what_was_left_imagined_is_dropped_when_the_truth_comes(tiny, one_thread) -> None:
    """An interrupt between imagining and acting leaves entries in scratch; observing forgets them."""
    predictor, sequence = predictor_of(tiny.model(), latent_frames_per_chunk=2, window=3), tiny.sequence(3)
    results = []
    for left in (True, False):
        rollout = started(predictor, sequence)
        if left:
            rollout.cache.append_imagined(4)
        append(predictor, rollout, sequence, slice(1, 3))
        rollout.generator.manual_seed(1)
        results.append(predictor.predict(rollout).actions)
        assert rollout.cache.num_imagined_tokens == 0
    assert torch.equal(*results)


@torch.no_grad()
def test_unused_channels_stay_zero_and_shapes_are_those_of_the_chunk(tiny) -> None:
    mask = torch.from_numpy(tiny.embodiment().channel_mask.copy())
    predictor = Predictor(tiny.model(), tiny.inference(), mask)
    sequence = tiny.sequence(1)
    prediction = predictor.predict(started(predictor, sequence))
    assert prediction.latents.shape == (4, 2, 4, 4)
    assert prediction.actions.shape == (2, 4, 30)
    assert not prediction.actions[..., ~mask].any()
    assert prediction.actions[..., mask].all()


@torch.no_grad()
def test_imagined_latents_are_where_the_last_velocity_leads(tiny) -> None:
    model = tiny.model()
    predictor, sequence = predictor_of(model, latent_frames_per_chunk=2, window=3), tiny.sequence(1)
    rollout = started(predictor, sequence)
    listener = Listener(model)
    prediction = predictor.predict(rollout)
    last = listener.close()[predictor.config.video_steps - 1]
    guess = by_frame(last.values + (1 - last.flow_time) * last.velocity, model)
    torch.testing.assert_close(prediction.latents, guess[0].transpose(0, 1))


@torch.no_grad()
def test_the_seed_decides_and_the_instruction_counts(tiny, one_thread) -> None:
    predictor, sequence = predictor_of(tiny.model(), latent_frames_per_chunk=2, window=3), tiny.sequence(1)
    predictions = [predictor.predict(started(predictor, sequence, seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(predictions[0].actions, predictions[1].actions)
    assert torch.equal(predictions[0].latents, predictions[1].latents)
    assert not torch.allclose(predictions[0].actions, predictions[2].actions)
    other = predictor.start(TEXT.encode(["stop"]), TEXT.encode([""]), seed=1)
    predictor.append_observed(other, sequence.latents, sequence.executed)
    assert not torch.allclose(predictor.predict(other).latents, predictions[0].latents)


@torch.no_grad()
def test_a_second_row_changes_nothing_for_an_unguided_stream(tiny) -> None:
    """Actions are not guided here: their row alone runs, beside a cache of two rows."""
    model, sequence = tiny.model(), tiny.sequence(5)
    results = []
    for guidance in (1.0, 1.0 + 1e-9):
        predictor = predictor_of(model, latent_frames_per_chunk=2, window=3, video_guidance=guidance)
        rollout = started(predictor, sequence)
        for start in (1, 3):
            append(predictor, rollout, sequence, slice(start, start + 2))
        results.append(predictor.predict(rollout))
    assert predictor.config.rows == 2 and rollout.cache.num_bytes > 0
    torch.testing.assert_close(results[0].latents, results[1].latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(results[0].actions, results[1].actions, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stream", ["video", "action"])
@torch.no_grad()
def test_guidance_leads_away_from_the_empty_instruction(tiny, stream: str) -> None:
    """The guided velocity is made of those that two unguided rollouts, one without words, find at the same point."""
    model, sequence = tiny.model(), tiny.sequence(3)
    settings = {"latent_frames_per_chunk": 2, "window": 3, "video_steps": 1, "s_stop": 0.5, "action_steps": 1}
    guided = predictor_of(model, **settings, **{f"{stream}_guidance": 3.0})
    rollout = started(guided, sequence)
    append(guided, rollout, sequence, slice(1, 3))
    listener = Listener(model)
    prediction = guided.predict(rollout)
    passes = [p for p in listener.close() if p.kind == stream]
    rows = passes[0].velocity
    assert rows.shape[0] == 2
    plain = predictor_of(model, **settings)
    if stream == "video":
        for row, words in enumerate((WORDS, "")):
            alone = plain.start(TEXT.encode([words]), TEXT.encode([""]), seed=0)
            plain.append_observed(alone, sequence.latents[:, :1], sequence.executed[:1])
            append(plain, alone, sequence, slice(1, 3))
            listener = Listener(model)
            plain.predict(alone)
            torch.testing.assert_close(listener.close()[0].velocity[0], rows[row], atol=1e-5, rtol=1e-5)
    velocity = rows[1] + 3 * (rows[0] - rows[1])
    point = passes[0].values[0]
    if stream == "action":
        torch.testing.assert_close(prediction.actions, point + velocity, atol=1e-5, rtol=1e-5)
    else:
        torch.testing.assert_close(passes[1].values[0], point + 0.5 * velocity, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_memory_does_not_grow(tiny) -> None:
    predictor, sequence = predictor_of(tiny.model(), latent_frames_per_chunk=2, window=3), tiny.sequence(3)
    rollout = started(predictor, sequence)
    before = rollout.cache.num_bytes
    for _ in range(10):
        append(predictor, rollout, sequence, slice(1, 3))
    assert rollout.cache.num_bytes == before
    assert rollout.next_frame == 21


@pytest.mark.parametrize(
    "change",
    [
        {"latent_frames_per_chunk": 0},
        {"window": 0},
        {"s_stop": 1.2},
        {"s_stop": 0.0},
        {"video_steps": 0},
        {"action_steps": 0},
        {"video_shift": 0.0},
        {"action_shift": -1.0},
    ],
)
def test_impossible_settings_are_refused(change: dict) -> None:
    with pytest.raises(ConfigurationError):
        InferenceConfig(**change)


def test_a_reactive_policy_needs_no_video_steps() -> None:
    config = InferenceConfig(imagines=False, video_steps=0)
    assert replace(config, video_steps=5).rows == 1
