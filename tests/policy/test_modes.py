"""Four questions to one network: what each answers, that it is asked as it was taught, and that nothing is changed.

Inverse dynamics is compared with one forward over the whole sequence under the training mask, given frames clean.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from foreact.data.batch import TrainingSequence
from foreact.errors import ConfigurationError, ForeactError, InputError
from foreact.policy.committed import Committed
from foreact.policy.policy import Policy
from foreact.policy.rollout import Rollout
from foreact.policy.session import Session
from foreact.policy.viewer import LatentViewer
from foreact.training.corruption import CorruptedBatch, CorruptedStream
from foreact.training.loss import network_inputs
from foreact.transformer.attention import MaskedAttention
from foreact.transformer.masks import ChunkLayout

STATE = np.array([0.1, -0.2, 0.5], np.float32)
FIRST_IN_CHUNK = dict(first_frame="chunk", latent_frames_per_chunk=3)
NOTHING = np.zeros((0, 3), np.float32)


def begun(policy: Policy, tiny, *, seed: int = 0, chunks: int = 1) -> Session:
    session = policy.start("push it", seed=seed)
    policy.observe_first(session, tiny.images(1), STATE)
    for _ in range(chunks):
        policy.observe(session, tiny.images(4, seed=5), tiny.actions(8))
    return session


def grown(policy: Policy, sequence: TrainingSequence, num_frames: int, *, seed: int = 0) -> Rollout:
    """A rollout that has observed the first frame, then whole chunks of two."""
    encode = policy.networks.text_encoder.encode
    rollout = policy.predictor.start(encode([sequence.instruction]), encode([""]), seed=seed)
    for start in (0, *range(1, num_frames, 2)):
        now = slice(start, 1 if start == 0 else start + 2)
        policy.predictor.append_observed(rollout, sequence.latents[:, now], sequence.executed[now])
    return rollout


@pytest.mark.parametrize(
    "settings", [{"s_stop": 0.5}, {"video_guidance": 3.0}, {"video_steps_executed": 1}, FIRST_IN_CHUNK]
)
def test_imagining_alone_is_the_video_of_a_prediction(tiny, one_thread, settings: dict) -> None:
    """Also while the first frame stands at the chunk's head."""
    policy, chunks = tiny.policy(**settings), 0 if settings is FIRST_IN_CHUNK else 1
    expected = policy.predict(begun(policy, tiny, chunks=chunks)).imagined_latents
    video = policy.imagine(begun(policy, tiny, chunks=chunks))
    assert video.dtype == torch.float32 and np.array_equal(video.numpy(), expected)


@pytest.mark.parametrize(
    ("num_actions", "settings"),
    [(4, {}), (8, {"s_stop": 0.5}), (8, {"video_guidance": 3.0}), (8, {"video_steps_executed": 1})],
)
def test_foreseeing_is_what_an_asynchronous_prediction_foresees(tiny, one_thread, num_actions, settings) -> None:
    policy, actions = tiny.policy(forward_dynamics=True, **settings), tiny.actions(num_actions, seed=3)
    asynchronous = policy.with_config(replace(policy.config, asynchronous=True))
    committed = Committed(under_way=actions, prefix=NOTHING)
    expected = asynchronous.predict(begun(asynchronous, tiny), committed).foreseen_latents
    video = policy.foresee(begun(policy, tiny), actions)
    assert video.shape == (4, num_actions // 4, 4, 4)
    assert np.array_equal(video.numpy(), expected)


def test_other_actions_lead_elsewhere(tiny, one_thread) -> None:
    policy = tiny.policy(forward_dynamics=True)
    session, videos = begun(policy, tiny), []
    for seed in (1, 1, 2):
        session.rollout.generator.manual_seed(0)
        videos.append(policy.foresee(session, tiny.actions(8, seed=seed)))
    assert torch.equal(videos[0], videos[1])
    assert not torch.allclose(videos[0], videos[2], atol=1e-3)


class Ear:
    """Every pass of the action stream alone: (input, velocity)."""

    def __init__(self, model):
        self.passes: list[tuple] = []
        self._handle = model.register_forward_hook(self._note)

    def _note(self, module, given, velocities) -> None:
        if given[0] is None:
            self.passes.append((replace(given[1], values=given[1].values.clone()), velocities[1].clone()))

    def close(self) -> list[tuple]:
        self._handle.remove()
        return self.passes


def taught_velocity(policy: Policy, sequence: TrainingSequence, window: int, chunk: slice, given) -> Tensor:
    """The action velocity of a chunk after one uncached forward; its clean video is that of the sequence."""
    model, frames, noisy = policy.networks.model, sequence.num_frames, slice(chunk.start - 1, chunk.stop - 1)
    latents, actions = sequence.latents.transpose(0, 1)[None], sequence.actions[None, 1:].clone()
    action_time = torch.full((1, frames - 1), 0.3)
    actions[:, noisy], action_time[:, noisy] = given.values, given.flow_time
    video = dict(noisy=latents[:, 1:], noisy_time=torch.full((1, frames - 1), 0.3), velocity=latents[:, 1:])
    corrupted = CorruptedBatch(
        video=CorruptedStream(clean=latents, clean_time=torch.ones(1, frames), **video),
        action=CorruptedStream(
            noisy=actions,
            noisy_time=action_time,
            clean=sequence.executed[None],
            clean_time=torch.ones(1, frames),
            velocity=actions,
        ),
        action_given=torch.zeros(actions.shape[:3], dtype=torch.bool),
        text_dropped=torch.zeros(1, dtype=torch.bool),
        channel_mask=sequence.channel_mask[None],
    )
    layout = ChunkLayout(num_frames=frames, frames_per_chunk=2, window=window)
    text = policy.networks.text_encoder.encode([sequence.instruction])
    inputs = network_inputs(model, corrupted, layout)
    read = model.read_text(text.tokens, text.lengths)
    return model(*inputs, read, MaskedAttention(layout))[1][:, noisy]


@pytest.mark.parametrize("settings", [{"window": 64}, {"window": 4}, {"window": 64, "s_stop": 0.6}])
@torch.no_grad()
def test_inverse_dynamics_is_what_it_was_taught(tiny, settings: dict) -> None:
    """Every pass against one forward over the whole sequence; given frames are clean wherever imagining stops."""
    policy, sequence = tiny.policy(**settings), tiny.sequence(9)
    rollout, ear = grown(policy, sequence, 7), Ear(policy.networks.model)
    actions = policy.predictor.infer_actions(rollout, sequence.latents[:, 7:9])
    passes = ear.close()
    assert len(passes) == policy.config.action_steps
    for given, velocity in passes:
        expected = taught_velocity(policy, sequence, settings["window"], slice(7, 9), given)
        torch.testing.assert_close(velocity, expected, atol=1e-5, rtol=1e-5)
    given, velocity = passes[-1]
    step = (1 - given.flow_time).item()
    mask = torch.from_numpy(policy.codec.mask.copy())
    torch.testing.assert_close(actions, (given.values + step * velocity * mask)[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_oracle_tells_other_frames(tiny) -> None:
    """The same comparison fails if the frames are a little different: actions do look at them."""
    policy, sequence = tiny.policy(), tiny.sequence(9)
    rollout, ear = grown(policy, sequence, 7), Ear(policy.networks.model)
    policy.predictor.infer_actions(rollout, sequence.latents[:, 7:9])
    given, velocity = ear.close()[0]
    other = replace(sequence, latents=sequence.latents.clone())
    other.latents[:, 7:9] += 0.1
    wrong = taught_velocity(policy, other, 8, slice(7, 9), given)
    right = taught_velocity(policy, sequence, 8, slice(7, 9), given)
    assert (velocity - right).abs().max() < 1e-5 < 1e-3 < (velocity - wrong).abs().max()


@pytest.mark.parametrize("settings", [{}, {"action_guidance": 2.0}, FIRST_IN_CHUNK])
@torch.no_grad()
def test_a_prediction_is_imagining_then_inverse_dynamics(tiny, settings: dict) -> None:
    """Imagined to the end and then given back as if it had happened, a video leads to the prediction's actions."""
    policy, sequence = tiny.policy(**settings), tiny.sequence(3)
    for num_frames in (1, 3):
        expected = policy.predictor.predict(grown(policy, sequence, num_frames))
        rollout = grown(policy, sequence, num_frames)
        actions = policy.predictor.infer_actions(rollout, policy.predictor.imagine(rollout))
        torch.testing.assert_close(actions, expected.actions, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("num_images", "chunks", "settings"), [(2, 0, {}), (4, 1, {}), (4, 0, FIRST_IN_CHUNK)])
def test_actions_of_camera_frames_are_those_of_their_latents(tiny, one_thread, num_images, chunks, settings) -> None:
    """The frames are encoded as the next ones of the cameras' streams; actions are the robot's, within its limits."""
    policy, images = tiny.policy(**settings), tiny.images(num_images, seed=9)
    asked, twin = (begun(policy, tiny, chunks=chunks) for _ in range(2))
    actions = policy.infer_actions(asked, images)
    assert actions.shape == (num_images * 2, 3) and actions.dtype == np.float32
    inferred = policy.predictor.infer_actions(twin.rollout, policy.encode_frames(twin, images))
    expected = policy.embodiment.clip_actions(policy.codec.decode(inferred.flatten(0, 1).numpy()))
    assert np.array_equal(actions, expected)


def test_inferred_actions_stay_within_the_limits(tiny) -> None:
    networks = tiny.networks()
    with torch.no_grad():
        networks.model.action.head.bias.fill_(-100.0)
    policy = tiny.policy(networks=networks)
    actions = policy.infer_actions(begun(policy, tiny), tiny.images(4))
    assert np.allclose(actions, policy.embodiment.limits[1]), "the velocity is -head: all run into the upper limit"


QUESTIONS = {
    "imagine": lambda p, s, t: p.imagine(s),
    "foresee": lambda p, s, t: p.foresee(s, t.actions(8)),
    "infer_actions": lambda p, s, t: p.infer_actions(s, t.images(4, seed=9)),
}


@pytest.mark.parametrize("settings", [{}, {"video_guidance": 3.0, "window": 2}])
def test_nothing_observed_changes(tiny, one_thread, settings: dict) -> None:
    """But for the noise drawn, a session that was asked goes on as one that was not, to the last bit."""
    policy, results = tiny.policy(forward_dynamics=True, **settings), []
    for question in ("", *QUESTIONS):
        session = begun(policy, tiny)
        before = policy.predict(session)
        if question:
            QUESTIONS[question](policy, session, tiny)
            assert session.rollout.cache.num_imagined_tokens == 0
            assert not session.rollout.trace.take(), "its time would be counted as the next chunk's"
        policy.accept_imagined(session)  # what was predicted before the question is still there
        policy.observe(session, tiny.images(2, seed=7), before.actions[:4])
        session.rollout.generator.manual_seed(11)
        chunk = policy.predict(session)
        kept = [*session.rollout.cache.observed(), session.observed]
        results.append([*kept, torch.from_numpy(chunk.actions), torch.from_numpy(chunk.imagined_latents)])
    for asked in results[1:]:
        assert all(torch.equal(mine, other) for mine, other in zip(asked, results[0], strict=True))


def test_each_question_draws_noise_of_its_own(tiny) -> None:
    policy = tiny.policy(forward_dynamics=True)
    session = begun(policy, tiny)
    for ask in QUESTIONS.values():
        assert not np.allclose(ask(policy, session, tiny), ask(policy, session, tiny))


def test_latents_can_be_looked_at(tiny) -> None:
    policy = tiny.policy(forward_dynamics=True)
    session = policy.start("push it")
    policy.observe_first(session, tiny.images(1), STATE)
    viewer = LatentViewer(policy.networks.vae, policy.embodiment.layout)
    viewer.show(session.observed)
    for latents in (policy.imagine(session), policy.foresee(session, tiny.actions(8))):
        assert viewer.peek(latents)["top"].shape == (4, 16, 8, 3)


def test_a_session_that_saw_nothing_cannot_be_asked(tiny) -> None:
    policy = tiny.policy(forward_dynamics=True)
    for ask in QUESTIONS.values():
        with pytest.raises(InputError, match="observe_first"):
            ask(policy, policy.start("push it"), tiny)


def test_a_policy_that_does_not_imagine_cannot_be_asked(tiny) -> None:
    policy = tiny.policy(imagines=False)
    for ask in QUESTIONS.values():
        with pytest.raises(ConfigurationError, match=r"reactive one.*one that imagines"):
            ask(policy, begun(policy, tiny, chunks=0), tiny)


@pytest.mark.parametrize("settings", [{}, FIRST_IN_CHUNK])
def test_forward_dynamics_must_have_been_trained(tiny, settings: dict) -> None:
    policy = tiny.policy(**settings)
    with pytest.raises(ConfigurationError, match=r"forward_dynamics.*post-train it: foreact train"):
        policy.foresee(begun(policy, tiny), tiny.actions(8))


REFUSED = {
    "no actions": (lambda p, s, t: p.foresee(s, NOTHING), "number of actions; got: 0; allowed: a multiple of 4"),
    "no whole latent frame": (lambda p, s, t: p.foresee(s, t.actions(7)), "got: 7; allowed: a multiple of 4"),
    "more than a chunk": (lambda p, s, t: p.foresee(s, t.actions(12)), "got: 12; allowed: at most 8, one chunk"),
    "another robot's": (lambda p, s, t: p.foresee(s, np.zeros((8, 5), np.float32)), "actions of 'toy'"),
    "NaN": (lambda p, s, t: p.foresee(s, np.full((8, 3), np.nan, np.float32)), "actions of 'toy'"),
    "no frames": (lambda p, s, t: p.infer_actions(s, t.images(0)), "number of camera frames; got: 0"),
    "no whole latent frame seen": (lambda p, s, t: p.infer_actions(s, t.images(3)), "got: 3; allowed: a multiple"),
    "frames of more than a chunk": (lambda p, s, t: p.infer_actions(s, t.images(6)), "at most 4, one chunk"),
    "a missing camera": (lambda p, s, t: p.infer_actions(s, {"top": t.images(4)["top"]}), "lack cameras wrist"),
    "a camera behind": (
        lambda p, s, t: p.infer_actions(s, t.images(4) | {"wrist": t.images(2)["wrist"]}),
        "numbers of frames",
    ),
}


def test_what_cannot_be_asked_changes_nothing(tiny, one_thread) -> None:
    policy = tiny.policy(forward_dynamics=True)
    expected = policy.predict(begun(policy, tiny)).actions
    session = begun(policy, tiny)
    for ask, stored in REFUSED.values():
        with pytest.raises(ForeactError, match=stored):
            ask(policy, session, tiny)
    assert np.array_equal(policy.predict(session).actions, expected), "noise was drawn, or something was kept"


def test_while_the_first_frame_waits_a_chunk_is_one_shorter(tiny) -> None:
    policy = tiny.policy(**FIRST_IN_CHUNK)
    session = begun(policy, tiny, chunks=0)
    assert policy.infer_actions(session, tiny.images(4)).shape == (8, 3)
    with pytest.raises(InputError, match="at most 4, one chunk"):
        policy.infer_actions(session, tiny.images(6))
