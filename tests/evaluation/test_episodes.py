import numpy as np
import pytest
import torch

from foreact.evaluation.episodes import evaluate_episode


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny.policy()


def test_what_is_kept_of_an_episode(policy, toy_env) -> None:
    """13 steps: a whole chunk of 8, then 5 of the next."""
    told = []
    result, record = evaluate_episode(policy, toy_env(), 4, on_chunk=told.append)
    assert (result.seed, result.success, result.steps, result.stage) == (4, True, 13, "done")
    assert result.progress == 1.0
    assert result.executed == [8, 5]
    assert len(result.stage_ms) == 2 and all(ms["imagine"] > 0 for ms in result.stage_ms)
    assert len(result.imagination_error) == 1
    assert [turn.index for turn in record.chunks] == [0, 1] == [turn.index for turn in told]
    assert record.observed[0].shape == (4, 2, 4, 4) and record.observed[1] is None
    assert record.first_latents.shape == (4, 1, 4, 4)
    assert record.first_images["top"].shape == (1, 16, 8, 3)


def test_imagination_error_is_the_rms_difference_in_latents(policy, toy_env) -> None:
    result, record = evaluate_episode(policy, toy_env(), 5)
    assert result.executed == [8, 8, 4] and not result.success
    for number in range(2):
        imagined = record.chunks[number].chunk.imagined_latents
        difference = imagined - record.observed[number].numpy()
        assert result.imagination_error[number] == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-5)


def test_the_seed_reproduces_the_episode(policy, toy_env, one_thread) -> None:
    actions = []
    for seed in (4, 4, 6):
        _, record = evaluate_episode(policy, toy_env(), seed)
        actions.append(np.concatenate([turn.executed for turn in record.chunks]))
    assert np.array_equal(actions[0], actions[1])
    assert not np.allclose(actions[0], actions[2])


def test_open_loop_sees_nothing_but_is_measured_against_what_happened(policy, toy_env, one_thread) -> None:
    closed = evaluate_episode(policy, toy_env(), 5)
    opened = evaluate_episode(policy, toy_env(), 5, closed=False)
    first = [record.chunks[0].chunk.actions for _, record in (closed, opened)]
    second = [record.chunks[1].chunk.actions for _, record in (closed, opened)]
    assert np.array_equal(*first) and not np.array_equal(*second)
    assert len(opened[0].imagination_error) == 2
    assert torch.allclose(closed[1].observed[0], opened[1].observed[0], atol=1e-5)
    assert "encode" not in opened[0].stage_ms[1]


def test_an_execution_horizon(policy, toy_env) -> None:
    result, record = evaluate_episode(policy, toy_env(), 4, execution_horizon=4)
    assert result.executed == [4, 4, 4, 1]
    assert len(result.imagination_error) == 3
    assert record.observed[0].shape == (4, 1, 4, 4)


def test_a_reactive_policy_has_no_imagination_error(tiny, toy_env) -> None:
    result, _ = evaluate_episode(tiny.policy(imagines=False), toy_env(), 4)
    assert result.imagination_error == [] and result.executed == [8, 5]
