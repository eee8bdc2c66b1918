"""Many sessions as one batch: each gets what it would have got alone, whoever else is there."""

import numpy as np
import pytest
import torch

from foreact.errors import CapacityError, InputError
from foreact.policy.policy import Policy
from foreact.policy.session import Session

STATE = np.array([0.1, -0.2, 0.5], np.float32)
WORDS = ("push", "pull the long blue lever to the left", "", "push it")
CASES = {
    "plain": {},
    "guided": dict(video_guidance=3.0),
    "both guided": dict(video_guidance=3.0, action_guidance=1.5),
    "stopped early": dict(s_stop=0.5),
    "cut short": dict(video_steps=4, video_steps_executed=2, action_guidance=2.0),
    "first frame in the first chunk": dict(first_frame="chunk", video_guidance=2.0),
    "reactive": dict(imagines=False),
    "a window that wraps": dict(window=3),
}


def grown(policy: Policy, tiny, number: int) -> Session:
    """The number-th session: `number` chunks old, with its own words, noise and pictures."""
    session = policy.start(WORDS[number], seed=number)
    policy.observe_first(session, tiny.images(1, seed=number), STATE * number / 3)
    for chunk in range(number):
        actions = policy.predict(session).actions
        policy.observe(session, tiny.images(len(actions) // 2, seed=10 * number + chunk), actions)
    return session


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES.keys())
def test_a_batch_gives_each_session_what_it_gets_alone(tiny, settings: dict) -> None:
    policy = tiny.policy(**settings)
    alone, together = ([grown(policy, tiny, number) for number in range(4)] for _ in range(2))
    for turn in range(3):
        expected = [policy.predict(session) for session in alone]
        got = policy.predict_together(together)
        for mine, oracle in zip(got, expected, strict=True):
            np.testing.assert_allclose(mine.actions, oracle.actions, atol=1e-5)
            if oracle.imagined_latents is not None:
                np.testing.assert_allclose(mine.imagined_latents, oracle.imagined_latents, atol=1e-5)
        images = [tiny.images(len(chunk.actions) // 2, seed=50 + turn + n) for n, chunk in enumerate(expected)]
        executed = [chunk.actions for chunk in expected]
        for session, shown, actions in zip(alone, images, executed, strict=True):
            policy.observe(session, shown, actions)
        policy.observe_together(together, images, executed)
        for mine, oracle in zip(together, alone, strict=True):
            torch.testing.assert_close(mine.observed, oracle.observed, atol=1e-5, rtol=1e-5)
            assert mine.rollout.next_frame == oracle.rollout.next_frame


def test_sessions_join_and_leave_between_chunks(tiny) -> None:
    policy = tiny.policy()
    oracle = grown(policy, tiny, 2)
    expected = [policy.predict(oracle).actions for _ in range(3)]
    session, early, late = grown(policy, tiny, 2), grown(policy, tiny, 1), grown(policy, tiny, 3)
    for company, wanted in zip(([early], [early, late], [late]), expected, strict=True):
        got = policy.predict_together([*company, session])[-1].actions
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_parts_of_chunks_may_be_observed_together(tiny) -> None:
    """One robot executed half a chunk, another all of it."""
    policy = tiny.policy()
    pairs = [[grown(policy, tiny, n) for n in (1, 2)] for _ in range(2)]
    seen = [(tiny.images(2, seed=1), tiny.actions(4)), (tiny.images(4, seed=2), tiny.actions(8))]
    for session, (images, actions) in zip(pairs[0], seen, strict=True):
        policy.observe(session, images, actions)
    policy.observe_together(pairs[1], *zip(*seen, strict=True))
    for mine, oracle in zip(pairs[1], pairs[0], strict=True):
        np.testing.assert_allclose(policy.predict(mine).actions, policy.predict(oracle).actions, atol=1e-5)


def test_one_bad_input_changes_nobody(tiny) -> None:
    policy = tiny.policy()
    sessions, twin = [grown(policy, tiny, n) for n in (1, 2)], grown(policy, tiny, 1)
    for bad in (tiny.images(3), {"top": tiny.images(4)["top"]}):
        with pytest.raises(InputError):
            policy.observe_together(sessions, [tiny.images(4), bad], [tiny.actions(8)] * 2)
    for session in (sessions[0], twin):
        policy.observe(session, tiny.images(4, seed=9), tiny.actions(8))
    np.testing.assert_allclose(policy.predict(sessions[0]).actions, policy.predict(twin).actions, atol=1e-5)


def test_a_session_is_in_a_batch_once(tiny) -> None:
    policy = tiny.policy()
    session = grown(policy, tiny, 1)
    for sessions in ([session, session], []):
        with pytest.raises(InputError, match="each once"):
            policy.predict_together(sessions)
    with pytest.raises(InputError, match="observe_first"):
        policy.predict_together([session, policy.start("push")])


def test_a_session_that_would_not_fit_is_refused_and_the_others_go_on(tiny, monkeypatch) -> None:
    policy = tiny.policy()
    session, twin = grown(policy, tiny, 1), grown(policy, tiny, 1)
    monkeypatch.setattr("foreact.policy.predictor.free_bytes", lambda device: session.rollout.cache.num_bytes)
    with pytest.raises(CapacityError, match="end a session"):
        policy.start("one more")
    monkeypatch.undo()
    np.testing.assert_array_equal(policy.predict(session).actions, policy.predict(twin).actions)
    assert policy.start("now there is room").rollout.num_observed == 0


@pytest.mark.parametrize("settings", [{}, dict(first_frame="chunk")], ids=["frame by itself", "in the first chunk"])
def test_who_asks_once_needs_no_window(tiny, settings: dict) -> None:
    """Less memory, the same answer, in one batch with a session that has a history."""
    policy = tiny.policy(**settings)
    whole, short = (policy.start("push", seed=5, window=window) for window in (None, 1))
    assert short.rollout.cache.num_bytes < whole.rollout.cache.num_bytes
    for session in (whole, short):
        policy.observe_first(session, tiny.images(1), STATE)
    expected = policy.predict(whole)
    got = policy.predict_together([short, grown(policy, tiny, 2)])[0]
    np.testing.assert_allclose(got.actions, expected.actions, atol=1e-5)
