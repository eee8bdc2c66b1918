import numpy as np
import pytest
import torch

from foreact.control.latency import constant
from foreact.evaluation.episodes import evaluate_controller, evaluate_episode
from foreact.policy.controllers import control_config
from foreact.types import ActionChunk


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny.policy()


def test_what_is_kept_of_an_episode(policy, toy_env) -> None:
    """13 steps: a whole chunk of 8, then 5 of the next."""
    stored = []
    result, record = evaluate_episode(policy, toy_env(), 4, on_chunk=stored.append)
    assert (result.seed, result.success, result.steps, result.stage) == (4, True, 13, "done")
    assert result.progress == 1.0 and result.idle_share == 0.0
    assert result.executed == [8, 5] and record.executed.shape == (13, 3)
    assert len(result.stage_ms) == 2 and all(ms["imagine"] > 0 for ms in result.stage_ms)
    assert [placed.index for placed in record.chunks] == [0, 1] == [placed.index for placed in stored]
    assert [placed.begin_tick for placed in record.chunks] == [0, 8]
    assert len(record.pictures) == 1 + 13 // 2
    assert record.latents.shape == (4, 1 + 13 // 4, 4, 4)
    assert record.clips(0, 1)["top"].shape == (1, 16, 8, 3)
    assert record.clips(7, 9) == {}


def test_imagination_error_is_the_rms_difference_in_latents(policy, toy_env) -> None:
    """Of every latent frame that a chunk was in force for: two, two, and one of the last."""
    result, record = evaluate_episode(policy, toy_env(), 5)
    assert result.executed == [8, 8, 4] and not result.success
    for number, frames in enumerate((slice(1, 3), slice(3, 5), slice(5, 6))):
        imagined = record.chunks[number].chunk.imagined_latents
        difference = imagined[:, : frames.stop - frames.start] - record.latents[:, frames].numpy()
        assert result.imagination_error[number] == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-5)
    np.testing.assert_allclose(result.disagreement, result.imagination_error[:2], rtol=0.05)


def test_the_seed_reproduces_the_episode(policy, toy_env, one_thread) -> None:
    actions = [evaluate_episode(policy, toy_env(), seed)[1].executed for seed in (4, 4, 6)]
    assert np.array_equal(actions[0], actions[1])
    assert not np.allclose(actions[0], actions[2])


def test_open_loop_sees_nothing_but_is_measured_against_what_happened(policy, toy_env, one_thread) -> None:
    closed = evaluate_episode(policy, toy_env(), 5)
    opened = evaluate_episode(policy, toy_env(), 5, mode="open_loop")
    first = [record.chunks[0].chunk.actions for _, record in (closed, opened)]
    second = [record.chunks[1].chunk.actions for _, record in (closed, opened)]
    assert np.array_equal(*first) and not np.array_equal(*second)
    assert len(opened[0].imagination_error) == 3 and opened[0].disagreement == []
    assert torch.allclose(closed[1].latents[:, :3], opened[1].latents[:, :3], atol=1e-5)
    assert "encode" not in opened[0].stage_ms[1]


def test_an_execution_horizon(policy, toy_env) -> None:
    result, record = evaluate_episode(policy, toy_env(), 4, execution_horizon=1)
    assert result.executed == [4, 4, 4, 1]
    assert len(result.imagination_error) == 3
    assert [frames.shape[1] for frames in record.seen] == [1, 1, 1, 1]


def test_a_reactive_policy_has_no_imagination_error(tiny, toy_env) -> None:
    result, _ = evaluate_episode(tiny.policy(imagines=False), toy_env(), 4)
    assert result.imagination_error == [] == result.disagreement and result.executed == [8, 5]


@pytest.mark.parametrize("mode", ["naive", "grounded", "prefixed"])
def test_the_robot_goes_on_while_a_chunk_is_computed(tiny, toy_env, mode: str) -> None:
    """Six steps of latency: the synchronous robot stands still for as many a chunk, the others for the first alone."""
    policy = tiny.policy(forward_dynamics=True, action_prefixes=True)
    waited, _ = evaluate_episode(policy, toy_env(), 5, latencies_s=constant(6 / 50))
    result, record = evaluate_episode(policy, toy_env(), 5, mode=mode, latencies_s=constant(6 / 50))
    assert waited.idle_share == pytest.approx(6 / 14) and result.idle_share == 0.0
    assert waited.steps == result.steps == 20
    assert len(record.executed) == 14 and result.late_chunks == 0
    assert sum(result.executed) == 14
    later = record.chunks[1:]
    assert all((placed.chunk.foreseen_latents is None) == (mode == "naive") for placed in later) and later


class Still:
    """A controller that is no policy: the robot stays where it is."""

    waits, inpaints = True, False

    def __init__(self, robot, seed: int):
        self._robot, self.seed, self.turns = robot, seed, []

    def begin(self, observation) -> ActionChunk:
        self.turns.append(len(observation.images))
        return self._stay()

    def proceed(self, turn) -> ActionChunk:
        self.turns.append(len(turn.executed))
        return self._stay()

    def _stay(self) -> ActionChunk:
        return ActionChunk(actions=np.tile(self._robot.state, (8, 1)), stage_ms={"stay": 2.0})


def test_a_controller_that_is_no_policy(policy, toy_env) -> None:
    started: list[Still] = []

    def start(robot, seed: int) -> Still:
        started.append(Still(robot, seed))
        return started[-1]

    config = control_config(policy)
    env = toy_env()
    result, record = evaluate_controller(start, env, 5, embodiment=policy.embodiment, config=config)
    assert (result.seed, result.success, result.steps, result.executed) == (5, False, 20, [8, 8, 4])
    assert started[0].seed == 5 and started[0].turns == [2, 8, 8] and env.resets == [5]
    assert result.imagination_error == result.disagreement == [] and result.stage_ms == [{"stay": 2.0}] * 3
    assert len(record.pictures) == 1 + 20 // 2 and (record.executed == record.executed[0]).all()
    late, _ = evaluate_controller(
        start, env, 5, embodiment=policy.embodiment, config=config, latencies_s=constant(4 / 50)
    )
    assert late.idle_share > 0 and sum(late.executed) < 20
