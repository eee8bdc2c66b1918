"""What is measured of the four modes: against answers that are known, and estimates against sums done by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foreact.embodiments import ActionCodec
from foreact.errors import ConfigurationError
from foreact.evaluation.modes import (
    ACTIONS,
    FORWARD,
    FORWARD_STILL,
    HELD,
    INVERSE,
    INVERSE_STILL,
    LATENTS,
    PIXELS,
    POLICY,
    VIDEO_ONLY,
    EpisodeErrors,
    Estimate,
    ask_chunks,
    check_answers_all,
    episode_errors,
    estimate,
    estimate_all,
)
from foreact.policy.policy import Policy
from foreact.policy.rollout import Prediction
from foreact.policy.viewer import psnr_db
from foreact.training.validation import predict_chunks


@pytest.fixture
def policy(tiny) -> Policy:
    return tiny.policy(forward_dynamics=True)


def answer_with(policy, monkeypatch, sequence, wrong: dict[str, float], *, elsewhere: float = 0.0) -> None:
    """Let the predictor answer what was recorded, each mode wrong by so much; `elsewhere`: in channels not there."""
    missing = elsewhere * torch.from_numpy(~policy.codec.mask)

    def now(rollout) -> slice:
        return slice(rollout.next_frame, rollout.next_frame + policy.config.latent_frames_per_chunk)

    def latents(who):
        return lambda rollout, *given: sequence.latents[:, now(rollout)] + wrong.get(who, 0.0)

    def actions(who):
        return lambda rollout, *given: sequence.actions[now(rollout)] + wrong.get(who, 0.0) + missing

    def predict(rollout) -> Prediction:
        return Prediction(latents=latents(POLICY)(rollout), actions=actions(POLICY)(rollout))

    answers = dict(imagine=latents(VIDEO_ONLY), foresee=latents(FORWARD), infer_actions=actions(INVERSE))
    for name, answer in (answers | {"predict": predict}).items():
        monkeypatch.setattr(policy.predictor, name, answer)


def test_perfect_answers(tiny, policy, monkeypatch) -> None:
    sequence = tiny.sequence(7)
    answer_with(policy, monkeypatch, sequence, {})
    errors = episode_errors(policy, sequence, seed=0)
    assert set(errors.totals) == {ACTIONS, "actions in rad", "actions in opening", LATENTS, PIXELS}
    for measure, by in errors.totals.items():
        assert all(total == pytest.approx(0, abs=1e-4) for who, total in by.items() if who != HELD), measure
        assert by[HELD] > 0.001 and errors.counts[measure] > 0
    # three chunks of two latent frames of four actions; two joints and a gripper; two camera frames a latent frame
    assert [errors.counts[name] for name in (ACTIONS, "actions in rad", "actions in opening")] == [72, 48, 24]
    assert errors.counts[LATENTS] == 6 and errors.counts[PIXELS] <= 12


def test_each_is_charged_with_its_own_error(tiny, policy, monkeypatch) -> None:
    sequence = tiny.sequence(7)
    wrong = {POLICY: 0.1, VIDEO_ONLY: 0.2, FORWARD: 0.3, INVERSE: 0.4}
    answer_with(policy, monkeypatch, sequence, wrong, elsewhere=100.0)
    errors = episode_errors(policy, sequence, seed=0)
    means = {
        measure: {who: t / errors.counts[measure] for who, t in by.items()} for measure, by in errors.totals.items()
    }
    assert means[ACTIONS] == pytest.approx(
        {POLICY: 0.1, INVERSE: 0.4, INVERSE_STILL: 0.4, HELD: means[ACTIONS][HELD]}, abs=1e-5
    )
    latents = {POLICY: 0.1, VIDEO_ONLY: 0.2, FORWARD: 0.3, FORWARD_STILL: 0.3, HELD: means[LATENTS][HELD]}
    assert means[LATENTS] == pytest.approx(latents, abs=1e-5)
    # the toy codec's range 2 of model units is 1 of the robot's
    assert means["actions in rad"][INVERSE] == pytest.approx(0.2, rel=0.05)
    assert means[PIXELS][POLICY] < means[PIXELS][VIDEO_ONLY] < means[PIXELS][FORWARD] < means[PIXELS][HELD]


def test_what_is_held_was_there_before(tiny, policy, monkeypatch) -> None:
    sequence = tiny.sequence(3)
    answer_with(policy, monkeypatch, sequence, {})
    errors = episode_errors(policy, sequence, seed=0)
    has = torch.from_numpy(policy.codec.mask.copy())
    still = (sequence.actions[1:] - sequence.executed[0, -1]).abs()[..., has]
    assert errors.totals[ACTIONS][HELD] == pytest.approx(still.sum().item(), rel=1e-5)
    distance = (sequence.latents[:, 1:] - sequence.latents[:, :1]).square().mean(dim=(0, 2, 3)).sqrt().sum()
    assert errors.totals[LATENTS][HELD] == pytest.approx(distance.item(), rel=1e-5)


def test_what_was_repeated_past_the_end_counts_for_nothing(tiny, policy, monkeypatch) -> None:
    whole = tiny.sequence(5)
    action_valid, frame_valid = whole.action_valid.clone(), whole.frame_valid.clone()
    action_valid[4, 1:], frame_valid[4] = False, False
    short = replace(whole, action_valid=action_valid, frame_valid=frame_valid)
    answer_with(policy, monkeypatch, whole, {})
    counts = [episode_errors(policy, sequence, seed=0).counts for sequence in (whole, short)]
    assert (counts[0][ACTIONS], counts[1][ACTIONS]) == (48, 48 - 9)
    assert (counts[0][LATENTS], counts[1][LATENTS]) == (4, 3)
    assert counts[1][PIXELS] < counts[0][PIXELS]
    answer_with(policy, monkeypatch, replace(whole, latents=whole.latents.clone()), {})
    short.latents[:, 4] += 7  # a frame past the end may be anything
    assert episode_errors(policy, short, seed=0).totals[LATENTS][POLICY] == pytest.approx(0, abs=1e-5)


def test_questions_asked_at_one_moment_share_noise_and_real_history(tiny, policy, one_thread) -> None:
    sequence = tiny.sequence(6)
    asked = list(ask_chunks(policy, sequence, seed=4))
    assert [(answers.now.start, answers.now.stop) for answers in asked] == [(1, 3), (3, 5)]
    for answers, (now, prediction) in zip(asked, predict_chunks(policy, sequence, seed=4), strict=True):
        assert now == answers.now
        assert torch.equal(answers.prediction.actions, prediction.actions)
        assert prediction.latents is not None and torch.equal(answers.imagined, prediction.latents)
    # given what was imagined as if it had happened, the same noise leads to the prediction's actions
    dreamt = replace(sequence, latents=sequence.latents.clone())
    dreamt.latents[:, 1:3] = asked[0].imagined
    again = next(ask_chunks(policy, dreamt, seed=4))
    torch.testing.assert_close(again.inferred, asked[0].prediction.actions, atol=1e-4, rtol=1e-4)
    other = replace(sequence, executed=sequence.executed + 1)
    assert not torch.allclose(next(ask_chunks(policy, other, seed=4)).foreseen, asked[0].foreseen)


def test_the_controls_are_told_that_nothing_moves(tiny, policy, monkeypatch, one_thread) -> None:
    sequence, stored = tiny.sequence(5), []
    foresee, infer = policy.predictor.foresee, policy.predictor.infer_actions
    monkeypatch.setattr(policy.predictor, "foresee", lambda r, given: (stored.append(given), foresee(r, given))[1])
    monkeypatch.setattr(policy.predictor, "infer_actions", lambda r, given: (stored.append(given), infer(r, given))[1])
    *_, answers = ask_chunks(policy, sequence, seed=0)
    actions, still_actions, frames, still_frames = stored[-4:]
    assert torch.equal(actions, sequence.executed[3:5]) and torch.equal(frames, sequence.latents[:, 3:5])
    assert torch.equal(still_actions, sequence.executed[2, -1].expand(2, 4, 30))
    assert torch.equal(still_frames, sequence.latents[:, 2:3].expand(4, 2, 4, 4))
    assert not torch.allclose(answers.foreseen, answers.foreseen_still, atol=1e-3)
    assert not torch.allclose(answers.inferred, answers.inferred_still, atol=1e-3)


def test_a_robot_whose_actions_count_from_its_first_pose_is_measured_in_model_units(tiny) -> None:
    robot = tiny.embodiment()
    robot = replace(robot, arms=tuple(replace(arm, representation="relative") for arm in robot.arms))
    corners = np.zeros((2, 30))
    corners[1] = 1.0
    codec = ActionCodec.fit(robot, corners * robot.channel_mask)
    policy = Policy(tiny.networks(), codec, tiny.inference(forward_dynamics=True))
    errors = episode_errors(policy, tiny.sequence(3), seed=0)
    assert set(errors.totals) == {ACTIONS, LATENTS, PIXELS} and errors.counts[ACTIONS] == 24


def episode(count: int, **totals: float) -> EpisodeErrors:
    names = {"policy": POLICY, "inverse": INVERSE}
    by = {names[name]: total for name, total in totals.items()}
    return EpisodeErrors(totals={ACTIONS: by, PIXELS: by}, counts={ACTIONS: count, PIXELS: count})


def test_an_estimate_is_a_mean_over_all_numbers_and_a_difference_is_paired() -> None:
    episodes = [episode(10, policy=1.0, inverse=0.0), episode(30, policy=9.0, inverse=6.0)]
    mean = estimate(episodes, ACTIONS, POLICY)
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.25, 0.1, 0.3))
    difference = estimate(episodes, ACTIONS, INVERSE, POLICY)
    assert (difference.value, difference.low, difference.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert difference.is_decided, "each episode differs by the same, however different they are"
    assert estimate_all(episodes)[ACTIONS][INVERSE] == estimate(episodes, ACTIONS, INVERSE)


def test_pixels_are_given_in_decibels() -> None:
    episodes = [episode(10, policy=0.1, inverse=0.01), episode(10, policy=0.1, inverse=0.01)]
    assert estimate(episodes, PIXELS, POLICY).value == pytest.approx(20) == pytest.approx(psnr_db(0.01))
    assert estimate(episodes, PIXELS, INVERSE, POLICY).value == pytest.approx(10)


def test_a_difference_without_a_sign_is_not_decided() -> None:
    assert not Estimate(value=0.1, low=-0.1, high=0.3).is_decided
    assert Estimate(value=-0.1, low=-0.2, high=-0.05).is_decided


def test_one_episode_has_no_interval() -> None:
    with pytest.raises(ConfigurationError, match="two or more"):
        estimate([episode(10, policy=1.0)], ACTIONS, POLICY)


def test_who_cannot_be_asked_is_refused(tiny) -> None:
    check_answers_all(tiny.policy(forward_dynamics=True))
    with pytest.raises(ConfigurationError, match="it imagines nothing"):
        check_answers_all(tiny.policy(imagines=False))
    with pytest.raises(ConfigurationError, match=r"forward_dynamics.*post-train it"):
        check_answers_all(tiny.policy())
