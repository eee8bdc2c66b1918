"""Cached, chunk by chunk = one teacher-forced forward under the training mask; and what a rollout keeps to itself.

The oracle listens to every pass of the network that the predictor makes, and asks the training forward for the
velocity of the same noisy values: the passes that matter are those really made, none is made up here.
"""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import TrainingSequence, collate
from foreact.errors import ConfigurationError
from foreact.policy.inference import InferenceConfig, inference_from_plain
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Ahead, Rollout
from foreact.policy.trained import TrainedFor
from foreact.recipes import get_recipe
from foreact.training.corruption import CorruptedBatch, CorruptedStream, CorruptionConfig, corrupt
from foreact.training.loss import network_inputs
from foreact.transformer.attention import CachedAttention, ChunkedAttention, JointAttention, MaskedAttention
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import TransformerConfig, WorldActionModel
from foreact.transformer.tokens import StreamInput, patchify, unpatchify

WORDS = "push the cube"


def text_encoder(model: WorldActionModel) -> HashedWordEncoder:
    return HashedWordEncoder(dim=model.config.text_dim)


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
    return Predictor(model, inference_from_plain(settings), torch.ones(30, dtype=torch.bool))


def started(predictor: Predictor, sequence: TrainingSequence, *, seed: int = 0) -> Rollout:
    encode = text_encoder(predictor.model).encode
    rollout = predictor.start(encode([WORDS]), encode([""]), seed=seed)
    predictor.append_observed(rollout, sequence.latents[:, :1], sequence.executed[:1])
    return rollout


def append(predictor: Predictor, rollout: Rollout, sequence: TrainingSequence, chunk: slice) -> None:
    predictor.append_observed(rollout, sequence.latents[:, chunk], sequence.executed[chunk])


def by_frame(tokens: Tensor, model: WorldActionModel) -> Tensor:
    """Video tokens [1, frames, tokens, patch] as training holds them, [1, frames, channels, height, width]."""
    return unpatchify(tokens, *model.config.canvas, model.config.patch_size).transpose(1, 2)


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
        action_given=torch.zeros(action.shape[:3], dtype=torch.bool),
        text_dropped=torch.zeros(1, dtype=torch.bool),
        channel_mask=sequence.channel_mask[None],
    )
    text = text_encoder(model).encode([WORDS])
    inputs = network_inputs(model, corrupted, layout)
    velocities = model(*inputs, model.read_text(text.tokens, text.lengths), attention)
    return velocities[0][:, noisy] if layout.imagines else None, velocities[1][:, noisy]


SHARED = dict(backbone="shared", action_width=24, action_ffn_dim=32, action_embedding="linear")
CASES = {
    "everything in the window": dict(chunk=3, window=64),
    "window wraps": dict(chunk=2, window=4),
    "chunk does not divide the window": dict(chunk=2, window=5),
    "chunk longer than the window": dict(chunk=3, window=2),
    "single frames": dict(chunk=1, window=3),
    "factorized actions": dict(chunk=2, window=3, sizes={"action_projection": "factorized"}),
    "reactive": dict(chunk=2, window=5, imagines=False),
    "imagined to the end": dict(chunk=2, window=5, s_stop=1.0),
    "not imagined at all": dict(chunk=2, window=5, s_stop=0.0, video_steps=0),
    "one backbone for both streams": dict(chunk=2, window=5, sizes=SHARED),
    "padding of the instruction is read": dict(chunk=2, window=5, sizes={"text_length": 40}),
    "a token a latent position": dict(chunk=2, window=5, sizes={"patch_size": 1}),
    "a token a frame": dict(chunk=2, window=5, sizes={"patch_size": 4}),
    "preconditioned outputs": dict(chunk=2, window=5, sizes={"video_data_std": 1.0, "action_data_std": 0.4}),
    "learned positions": dict(chunk=2, window=5, sizes={"learned_positions": True}),
    "two actions a token": dict(chunk=2, window=5, sizes={"actions_per_token": 2}),
    "relative actions": dict(chunk=2, window=5, sizes={"relative_actions": True}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@torch.no_grad()
def test_rollout_equals_one_teacher_forced_forward(tiny, case: dict) -> None:
    case = dict(case)
    chunk_size, sizes = case.pop("chunk"), case.pop("sizes", {})
    predictor = predictor_of(tiny.model(**sizes), latent_frames_per_chunk=chunk_size, **case)
    check_rollout(predictor, tiny.sequence(1 + chunk_size * (7 if chunk_size < 3 else 4)))


@torch.no_grad()
def test_relative_actions_enter_in_inference_as_they_do_in_training(tiny) -> None:
    """Given actions pass with the same values in forward dynamics of both, and decoded ones come back as targets."""
    predictor = predictor_of(tiny.model(relative_actions=True), latent_frames_per_chunk=2, forward_dynamics=True)
    sequence = tiny.sequence(7)
    layout = ChunkLayout(num_frames=7, frames_per_chunk=2, window=64, imagines=True, forward_dynamics=True)
    taught = corrupt(
        collate([sequence]),
        layout,
        CorruptionConfig(),
        [torch.Generator().manual_seed(0)],
        max_frames=8,
        relative_actions=True,
    )
    rollout = started(predictor, sequence)
    for start, stop in layout.chunks[1:]:
        listener = Listener(predictor.model)
        predictor.foresee(rollout, sequence.executed[start:stop])
        (given,) = [p.values for p in listener.close() if p.kind == "action"]
        torch.testing.assert_close(given[0], taught.action.noisy[0, start - 1 : stop - 1])
        assert not torch.equal(given[0], sequence.executed[start:stop])
        prefix = sequence.executed[start, :2]
        ahead = Ahead(actions=sequence.executed[start:start], prefix=prefix)
        torch.testing.assert_close(predictor.predict(rollout, ahead).actions[0, :2], prefix)
        append(predictor, rollout, sequence, slice(start, stop))


@torch.no_grad()
def test_relative_actions_are_counted_from_the_last_one_under_way(tiny) -> None:
    """After actions under way a chunk is what it is once they have been executed and seen as they were believed."""
    predictor = predictor_of(tiny.model(relative_actions=True), latent_frames_per_chunk=2, asynchronous=True)
    sequence = tiny.sequence(5)
    waited, asked = (started(predictor, sequence) for _ in range(2))
    append(predictor, waited, sequence, slice(1, 3))
    ahead = Ahead(actions=sequence.executed[1:3], latents=sequence.latents[:, 1:3])
    expected, got = predictor.predict(waited), predictor.predict(asked, ahead)
    torch.testing.assert_close(got.actions, expected.actions, atol=1e-5, rtol=1e-5)


def full_width_sequence(sizes: TransformerConfig, num_frames: int) -> TrainingSequence:
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(num_frames, sizes.actions_per_latent_frame, sizes.action_channels, generator=generator)
    return TrainingSequence(
        latents=torch.randn(sizes.latent_channels, num_frames, *sizes.canvas, generator=generator),
        actions=actions,
        executed=actions,
        action_valid=torch.ones(actions.shape[:2], dtype=torch.bool),
        frame_valid=torch.ones(num_frames, dtype=torch.bool),
        instruction=WORDS,
        channel_mask=torch.ones(sizes.action_channels, dtype=torch.bool),
    )


@pytest.mark.parametrize("preset", ["wan5b", "wan5b-shared"])
@torch.no_grad()
def test_layers_of_full_width_roll_out_as_they_are_taught(preset: str) -> None:
    """Two of the thirty layers, the real widths, in float32: two chunks in closed loop."""
    sizes = replace(get_recipe(preset).transformer, num_layers=2, canvas=(4, 4))
    with torch.device("meta"):
        model = WorldActionModel(sizes)
    model.to_empty(device="cpu").eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        small = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.1
        base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.uniform_(-small, small, generator=generator).add_(base)
    predictor = predictor_of(model, latent_frames_per_chunk=2, window=3, video_steps=1, action_steps=1)
    check_rollout(predictor, full_width_sequence(sizes, 5))


def check_rollout(predictor: Predictor, sequence: TrainingSequence) -> None:
    """Every pass that a closed loop over the sequence makes has the velocities of the teacher-forced forward."""
    model, config = predictor.model, predictor.config
    chunk_size, window = config.latent_frames_per_chunk, config.window
    num_chunks = (sequence.num_frames - 1) // chunk_size
    layout = ChunkLayout(
        num_frames=sequence.num_frames,
        frames_per_chunk=chunk_size,
        window=window,
        imagines=config.trained.imagines,
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
        half_finished = videos.pop() if config.trained.imagines else None
        assert len(videos) == (config.video_steps if config.trained.imagines else 0)
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
    assert compared == num_chunks * (config.action_steps + (config.video_steps if config.trained.imagines else 0))
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
    other = predictor.start(
        text_encoder(predictor.model).encode(["stop"]), text_encoder(predictor.model).encode([""]), seed=1
    )
    predictor.append_observed(other, sequence.latents, sequence.executed)
    assert not torch.allclose(predictor.predict(other).latents, predictions[0].latents)


@torch.no_grad()
def test_a_second_row_changes_nothing_for_an_unguided_stream(tiny) -> None:
    """Actions are not guided here: their row alone runs, next to a cache of two rows."""
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
            alone = plain.start(text_encoder(model).encode([words]), text_encoder(model).encode([""]), seed=0)
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
        inference_from_plain(change)


def test_a_reactive_policy_needs_no_video_steps() -> None:
    config = InferenceConfig(trained=TrainedFor(imagines=False), video_steps=0)
    assert replace(config, video_steps=5).rows == 1


@torch.no_grad()
def test_the_first_frame_at_the_head_of_the_first_chunk(tiny) -> None:
    """It is held as observed, at flow time 1, in every pass; the chunk is one frame shorter; then both are appended."""
    model = tiny.model()
    predictor = predictor_of(model, latent_frames_per_chunk=3, window=8, first_frame="chunk", video_guidance=2.0)
    sequence = tiny.sequence(6)
    rollout = started(predictor, sequence)
    assert (rollout.next_frame, rollout.num_observed, rollout.num_frames_at_head) == (0, 1, 1)
    heard = []
    handle = model.register_forward_hook(lambda module, given, out: heard.extend(x for x in given[:2] if x is not None))
    first = predictor.predict(rollout)
    handle.remove()
    assert len(heard) == 5
    known_frames = [patchify(sequence.latents[None, :, :1], model.config.patch_size)] * 3 + [
        sequence.executed[None, :1]
    ] * 2
    for stream, known in zip(heard, known_frames, strict=True):
        assert torch.equal(stream.values[:1, :1], known)
        assert (stream.flow_time[:, 0] == 1).all() and (stream.flow_time[:, 1:] < 1).all()
    assert first.latents.shape[1] == len(first.actions) == 2
    append(predictor, rollout, sequence, slice(1, 3))
    assert (rollout.next_frame, rollout.num_frames_at_head) == (3, 0)
    second = predictor.predict(rollout)
    assert second.latents.shape[1] == len(second.actions) == 3

    plain = predictor_of(model, latent_frames_per_chunk=3, window=8, video_guidance=2.0)
    encode = text_encoder(model).encode
    whole = plain.start(encode([WORDS]), encode([""]), seed=0)
    append(plain, whole, sequence, slice(0, 3))
    for after in (rollout, whole):
        after.generator.manual_seed(7)
    torch.testing.assert_close(predictor.predict(rollout).actions, plain.predict(whole).actions)


@pytest.mark.parametrize("guidance", [(1.0, 1.0), (3.0, 1.0), (1.0, 2.0)])
@torch.no_grad()
def test_a_schedule_cut_short_leaves_what_its_last_pass_saw(tiny, guidance: tuple[float, float]) -> None:
    model = tiny.model()
    settings = dict(latent_frames_per_chunk=2, video_guidance=guidance[0], action_guidance=guidance[1], s_stop=1.0)
    predictor = predictor_of(model, video_steps=5, video_steps_executed=2, **settings)
    whole = predictor_of(model, video_steps=5, **settings)
    assert predictor.config.video_times == whole.config.video_times[:3]
    sequence, passes = tiny.sequence(3), []
    for each in (predictor, whole):
        rollout = started(each, sequence)
        listener = Listener(model)
        each.predict(rollout)
        passes.append(listener.close())
    videos, actions = ([p for p in passes[0] if p.kind == kind] for kind in ("video", "action"))
    assert [p.flow_time for p in videos] == pytest.approx(whole.config.video_times[:2])
    for short, long in zip(videos, passes[1], strict=False):
        torch.testing.assert_close(short.velocity[:1], long.velocity[:1])
    # The actions read the second pass, whose input was half noise, not the finished video.
    rollout = started(predictor, sequence)
    last = replace(videos[-1], values=videos[-1].values[:1])
    given = StreamInput(
        values=last.values.expand(predictor.config.rows, -1, -1, -1),
        flow_time=torch.full((predictor.config.rows, 1), last.flow_time),
        rotary=model.video_rotary(torch.arange(1, 3)),
    )
    model(given, None, rollout.text, CachedAttention(rollout.cache))
    rollout.cache.append_imagined(2 * model.config.video_tokens)
    first = actions[0]
    given = StreamInput(
        values=first.values,
        flow_time=torch.full((len(first.values), 1), first.flow_time),
        rotary=model.action_rotary(torch.arange(1, 3)),
    )
    text = rollout.text if len(first.values) > 1 else rollout.conditional
    _, velocity = model(None, given, text, CachedAttention(rollout.cache))
    torch.testing.assert_close(velocity, first.velocity)


@pytest.mark.parametrize(
    "settings",
    [
        dict(first_frame="chunk", latent_frames_per_chunk=1),
        dict(video_steps=5, video_steps_executed=0),
        dict(video_steps=5, video_steps_executed=6),
        dict(video_steps=5, video_steps_executed=2, s_stop=0.5),
    ],
)
def test_settings_of_published_weights_are_checked(settings: dict) -> None:
    with pytest.raises(ConfigurationError):
        inference_from_plain(settings)


def test_unknown_places_of_the_first_frame_are_refused() -> None:
    config = TrainedFor()
    object.__setattr__(config, "first_frame", "cache")  # past the type checker of the tests
    with pytest.raises(ConfigurationError, match="history, chunk"):
        config.__post_init__()
