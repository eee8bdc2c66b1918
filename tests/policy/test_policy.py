import numpy as np
import pytest
import torch

from foreact.codecs.text import HashedWordEncoder
from foreact.errors import ConfigurationError, ForeactError, InputError
from foreact.policy.networks import Networks
from foreact.policy.policy import Policy
from foreact.policy.session import Session

STATE = np.array([0.1, -0.2, 0.5], np.float32)


def begun(policy: Policy, tiny, *, seed: int = 0, instruction: str = "push") -> Session:
    session = policy.start(instruction, seed=seed)
    policy.observe_first(session, tiny.images(1), STATE)
    return session


def test_counts_of_a_chunk(tiny) -> None:
    policy = tiny.policy()
    assert policy.actions_per_chunk == 8
    session = begun(policy, tiny)
    chunk = policy.predict(session)
    assert chunk.actions.shape == (8, 3) and chunk.actions.dtype == np.float32
    assert chunk.imagined_latents.shape == (4, 2, 4, 4)
    assert {"encode", "append", "imagine", "decode_actions"} <= set(chunk.stage_ms)
    assert all(ms >= 0 for ms in chunk.stage_ms.values())
    policy.observe(session, tiny.images(4), chunk.actions)
    assert session.rollout.next_frame == 3
    assert "encode" in policy.predict(session).stage_ms


def test_a_reactive_policy_imagines_nothing(tiny) -> None:
    policy = tiny.policy(imagines=False)
    chunk = policy.predict(begun(policy, tiny))
    assert chunk.imagined_latents is None
    assert "imagine" not in chunk.stage_ms


def test_actions_stay_within_the_limits(tiny) -> None:
    networks = tiny.networks()
    with torch.no_grad():
        networks.model.action.head.bias.fill_(-100.0)
    policy = tiny.policy(networks=networks)
    low, high = policy.embodiment.limits
    actions = policy.predict(begun(policy, tiny)).actions
    assert (actions >= low - 1e-6).all() and (actions <= high + 1e-6).all()
    assert np.isclose(actions, high).all(), "the velocity is -head, so every action runs into its upper limit"


def test_same_seed_same_actions(tiny, one_thread) -> None:
    policy = tiny.policy()
    chunks = []
    for seed in (3, 3, 4):
        session = begun(policy, tiny, seed=seed)
        first = policy.predict(session)
        policy.observe(session, tiny.images(4), first.actions)
        chunks.append((first.actions, policy.predict(session).actions))
    assert np.array_equal(chunks[0], chunks[1])
    assert not np.allclose(chunks[0], chunks[2])


def test_sessions_do_not_disturb_each_other(tiny, one_thread) -> None:
    policy = tiny.policy()
    alone = begun(policy, tiny)
    expected = [policy.predict(alone).actions, policy.predict(alone).actions]
    session, other = begun(policy, tiny), policy.start("other", seed=9)
    got = [policy.predict(session).actions]
    policy.observe_first(other, tiny.images(1, seed=5), -STATE)
    policy.predict(other)
    got.append(policy.predict(session).actions)
    assert np.array_equal(expected, got)


def test_what_is_seen_matters_and_comes_through_a_streaming_vae(tiny) -> None:
    """Two calls of observe equal encoding the whole clip at once."""
    policy = tiny.policy()
    clip = tiny.images(9)
    session = policy.start("push")
    policy.observe_first(session, {c: v[:1] for c, v in clip.items()}, STATE)
    pieces = [session.observed]
    for start in (1, 5):
        policy.observe(session, {c: v[start : start + 4] for c, v in clip.items()}, tiny.actions(8))
        pieces.append(session.observed)
    whole = policy.encode_frames(policy.start(""), clip)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-5, rtol=1e-5)


def test_executed_actions_matter(tiny) -> None:
    policy = tiny.policy()
    predictions = []
    for seed in (1, 2):
        session = begun(policy, tiny)
        policy.observe(session, tiny.images(4), tiny.actions(8, seed=seed))
        predictions.append(policy.predict(session).actions)
    assert not np.allclose(*predictions)


def test_part_of_a_chunk_may_be_executed(tiny) -> None:
    policy = tiny.policy()
    session = begun(policy, tiny)
    policy.observe(session, tiny.images(2), policy.predict(session).actions[:4])
    assert session.rollout.next_frame == 2


def test_the_cache_begins_with_the_actions_that_hold_the_robot(tiny) -> None:
    policy = tiny.policy()
    session = begun(policy, tiny)
    np.testing.assert_allclose(session.initial_pose, STATE)
    stored = []
    policy.predictor.append_observed_together = lambda rollouts, latents, actions: stored.append(actions[0])
    fresh = policy.start("push")
    policy.observe_first(fresh, tiny.images(1), STATE)
    held = policy.codec.encode(np.repeat(STATE[None], 4, axis=0), STATE)
    np.testing.assert_allclose(stored[0][0].numpy(), held)


def test_believing_equals_observing_what_was_imagined(tiny, one_thread) -> None:
    policy = tiny.policy()
    session = begun(policy, tiny)
    policy.predict(session)
    imagined = session.prediction
    policy.accept_imagined(session)
    assert session.rollout.next_frame == 3
    twin = begun(policy, tiny)
    policy.predict(twin)
    policy.predictor.append_observed(twin.rollout, imagined.latents, imagined.actions)
    assert np.array_equal(policy.predict(session).actions, policy.predict(twin).actions)


@pytest.mark.parametrize(
    "misuse",
    {
        "observe before observe_first": lambda p, s, t: p.observe(s, t.images(4), t.actions(8)),
        "predict before observe_first": lambda p, s, t: p.predict(s),
        "believe before anything": lambda p, s, t: p.accept_imagined(s),
    }.items(),
    ids=lambda item: item[0],
)
def test_order_on_a_new_session(tiny, misuse) -> None:
    policy = tiny.policy()
    with pytest.raises(InputError):
        misuse[1](policy, policy.start("push"), tiny)


@pytest.mark.parametrize(
    "misuse",
    {
        "observe_first twice": lambda p, s, t: p.observe_first(s, t.images(1), STATE),
        "believe without prediction": lambda p, s, t: p.accept_imagined(s),
        "no actions": lambda p, s, t: p.observe(s, t.images(4), t.actions(0)),
        "actions of no whole latent frame": lambda p, s, t: p.observe(s, t.images(4), t.actions(7)),
        "too few frames": lambda p, s, t: p.observe(s, t.images(3), t.actions(8)),
        "too many frames": lambda p, s, t: p.observe(s, t.images(5), t.actions(8)),
        "a camera behind": lambda p, s, t: p.observe(s, t.images(4) | {"wrist": t.images(3)["wrist"]}, t.actions(8)),
        "a missing camera": lambda p, s, t: p.observe(s, {"top": t.images(4)["top"]}, t.actions(8)),
        "NaN in actions": lambda p, s, t: p.observe(s, t.images(4), np.full((8, 3), np.nan, np.float32)),
        "another robot's actions": lambda p, s, t: p.observe(s, t.images(4), np.zeros((8, 5), np.float32)),
        "more than a chunk": lambda p, s, t: p.observe(s, t.images(6), t.actions(12)),
    }.items(),
    ids=lambda item: item[0],
)
def test_bad_input_changes_nothing(tiny, one_thread, misuse) -> None:
    policy = tiny.policy()
    expected = policy.predict(begun(policy, tiny)).actions
    session = begun(policy, tiny)
    with pytest.raises(ForeactError):
        misuse[1](policy, session, tiny)
    assert session.rollout.next_frame == 1
    assert np.array_equal(policy.predict(session).actions, expected)
    policy.observe(session, tiny.images(4), tiny.actions(8))
    twin = begun(policy, tiny)
    policy.predict(twin)
    policy.observe(twin, tiny.images(4), tiny.actions(8))
    assert torch.equal(session.observed, twin.observed), "the cameras' streams moved on"


@pytest.mark.parametrize(
    ("images", "state"),
    [
        (lambda t: t.images(2), STATE),
        (lambda t: {"top": t.images(1)["top"]}, STATE),
        (lambda t: t.images(1), np.array([0.1, np.nan, 0.2], np.float32)),
        (lambda t: t.images(1), np.zeros(5, np.float32)),
    ],
    ids=["two frames", "a missing camera", "NaN in the state", "another robot's state"],
)
def test_a_bad_first_observation_may_be_repeated(tiny, images, state) -> None:
    policy = tiny.policy()
    session = policy.start("push")
    with pytest.raises(InputError):
        policy.observe_first(session, images(tiny), state)
    policy.observe_first(session, tiny.images(1), STATE)
    assert policy.predict(session).actions.shape == (8, 3)


def test_a_reactive_policy_cannot_run_open_loop(tiny) -> None:
    policy = tiny.policy(imagines=False)
    session = begun(policy, tiny)
    policy.predict(session)
    with pytest.raises(InputError, match="imagin"):
        policy.accept_imagined(session)


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"latent_channels": 8}, "latent channels"),
        ({"canvas": (4, 8)}, "latent canvas"),
        ({"actions_per_latent_frame": 2}, "actions per latent frame"),
        ({"text_dim": 6}, "text width"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tiny, sizes: dict, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        tiny.policy(networks=tiny.networks(**sizes))


def test_a_vae_of_another_rate_is_refused(tiny) -> None:
    networks = tiny.networks()
    slow = type(networks.vae)(networks.vae.autoencoder)
    slow.__class__ = type("Slow", (type(slow),), {"temporal_factor": 4})
    with pytest.raises(ConfigurationError, match="camera frames per latent frame"):
        tiny.policy(networks=Networks(model=networks.model, vae=slow, text_encoder=HashedWordEncoder(dim=8)))


def test_digest_names_the_weights(tiny) -> None:
    policy = tiny.policy()
    again = tiny.policy()
    assert policy.digest() == again.digest()
    with torch.no_grad():
        again.networks.model.video.head.bias[0] += 1e-3
    assert policy.digest() != again.digest()
