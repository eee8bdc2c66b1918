from dataclasses import replace

import numpy as np
import pytest
import torch

from foreact.policy.rollout import Prediction
from foreact.training.validation import open_loop_error, predict_chunks


@pytest.fixture
def policy(tiny):
    return tiny.policy()


def answer_with(policy, monkeypatch, sequence, change=lambda latents, actions: (latents, actions)) -> None:
    """Let the predictor return what was recorded (first changed): the frames after those in its cache."""

    def predict(rollout) -> Prediction:
        now = slice(rollout.next_frame, rollout.next_frame + policy.config.latent_frames_per_chunk)
        latents, actions = change(sequence.latents[:, now], sequence.actions[now])
        return Prediction(latents=latents, actions=actions)

    monkeypatch.setattr(policy.predictor, "predict", predict)


def test_a_perfect_policy(tiny, policy, monkeypatch) -> None:
    sequence = tiny.sequence(7)
    answer_with(policy, monkeypatch, sequence)
    perfect = open_loop_error(policy, [sequence], seed=0)
    assert perfect.action_error == 0
    assert perfect.imagination_psnr_db == pytest.approx(120)
    assert perfect.last_frame_psnr_db < 60


def test_errors_grow_with_what_is_wrong(tiny, policy, monkeypatch) -> None:
    sequence, results = tiny.sequence(7), []
    for amount in (0.0, 0.25, 0.5):
        answer_with(policy, monkeypatch, sequence, lambda z, a, by=amount: (z + by, a - by))
        results.append(open_loop_error(policy, [sequence], seed=0))
    assert [result.action_error for result in results] == pytest.approx([0, 0.25, 0.5])
    assert results[0].imagination_psnr_db > results[1].imagination_psnr_db > results[2].imagination_psnr_db
    assert len({result.last_frame_psnr_db for result in results}) == 1


def test_only_real_actions_of_real_channels_count(tiny, policy, monkeypatch) -> None:
    sequence = tiny.sequence(5)
    valid = sequence.action_valid.clone()
    valid[4, 1:] = False
    sequence = replace(sequence, action_valid=valid)
    mask = torch.from_numpy(policy.codec.mask.copy())

    def spoil(latents, actions):
        spoilt = torch.where(mask, actions, 100.0)
        return latents, torch.where(spoiled_rows(actions), spoilt + 7, spoilt)

    def spoiled_rows(actions: torch.Tensor) -> torch.Tensor:
        last = torch.equal(actions, sequence.actions[3:5])
        rows = torch.zeros(actions.shape, dtype=torch.bool)
        rows[1, 1:] = last
        return rows

    answer_with(policy, monkeypatch, sequence, spoil)
    assert open_loop_error(policy, [sequence], seed=0).action_error == 0


def test_what_is_repeated_past_the_end_counts_for_nothing(tiny, policy, monkeypatch) -> None:
    """The last frame is a repetition, and imagined wrongly: as if it had not been there."""
    sequence = tiny.sequence(5)
    padded = replace(sequence, frame_valid=torch.tensor([True] * 4 + [False]))

    def spoil(latents, actions):
        wrong = latents.clone()
        wrong[:, -1] += 5.0 * torch.equal(actions, sequence.actions[3:5])
        return wrong, actions

    answer_with(policy, monkeypatch, sequence, spoil)
    assert open_loop_error(policy, [sequence], seed=0).disagreement > 1
    error = open_loop_error(policy, [padded], seed=0)
    assert error.disagreement == 0 and error.imagination_psnr_db == pytest.approx(120)


def test_every_chunk_is_predicted_from_the_real_history(tiny, policy, one_thread) -> None:
    sequence = tiny.sequence(8)
    predictions = list(predict_chunks(policy, sequence, seed=5))
    assert [(now.start, now.stop) for now, _ in predictions] == [(1, 3), (3, 5), (5, 7)]
    predictor, encode = policy.predictor, policy.networks.text_encoder.encode
    rollout = predictor.start(encode(["push it"]), encode([""]), seed=5)
    predictor.append_observed(rollout, sequence.latents[:, :1], sequence.executed[:1])
    for now, prediction in predictions:
        assert torch.equal(predictor.predict(rollout).actions, prediction.actions)
        predictor.append_observed(rollout, sequence.latents[:, now], sequence.executed[now])


def test_the_seed_decides(tiny, policy, one_thread) -> None:
    sequences = [tiny.sequence(5, seed=n) for n in range(2)]
    errors = [open_loop_error(policy, sequences, seed=seed).action_error for seed in (0, 0, 1)]
    assert errors[0] == errors[1] != errors[2]
    assert np.isfinite(errors).all()


def test_a_reactive_policy_is_judged_by_its_actions(tiny) -> None:
    result = open_loop_error(tiny.policy(imagines=False), [tiny.sequence(5)], seed=0)
    assert result.action_error > 0
    assert result.imagination_psnr_db is None and result.last_frame_psnr_db is None


def test_disagreement_is_rarely_exceeded(tiny, policy, monkeypatch) -> None:
    """The 99 % quantile over all latent frames: of distances 0, 1, 2 ... it is nearly the last."""
    sequence = tiny.sequence(201)

    def further(latents, actions):
        further.offset += 1
        return latents + torch.tensor([2.0 * further.offset, 2.0 * further.offset + 1])[None, :, None, None], actions

    further.offset = -1
    answer_with(policy, monkeypatch, sequence, further)
    assert open_loop_error(policy, [sequence], seed=0).disagreement == pytest.approx(0.99 * 199, rel=1e-4)
    assert open_loop_error(tiny.policy(imagines=False), [tiny.sequence(5)], seed=0).disagreement is None
