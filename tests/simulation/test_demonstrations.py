"""Experts at work, with disturbance: every task succeeds, and the record is what happened."""

import numpy as np
import pytest

from foreact.errors import ConfigurationError
from foreact.simulation.demonstrations import HOLD_STEPS, rollout_expert
from foreact.simulation.environment import BimanualEnv


@pytest.mark.parametrize(
    ("task", "seeds", "least", "most"),
    [
        ("reach_cube", range(6), 90, 115),
        ("lift_cube", range(6), 145, 190),
        ("transfer_cube", range(4), 230, 270),
        ("point_at_bin", range(3), 70, 110),
        ("remember_bin", range(3), 370, 420),
        ("remember_bin_two", range(1), 730, 830),
    ],
)
def test_experts_succeed_briskly_and_at_the_first_attempt(task, seeds, least, most):
    env = BimanualEnv(task)
    for seed in seeds:
        demonstration = rollout_expert(task, seed, env=env)
        assert demonstration.success and demonstration.progress == 1.0, f"seed {seed}"
        assert not demonstration.events
        assert least <= len(demonstration.actions) - env.start.go_step <= most
        assert demonstration.num_plans == env.task.num_cubes


@pytest.mark.parametrize(
    ("task", "seeds"),
    [("reach_cube", 4), ("lift_cube", 4), ("transfer_cube", 3), ("point_at_bin", 2), ("remember_bin", 1)],
)
def test_experts_recover_from_strong_disturbances(task, seeds):
    env = BimanualEnv(task, disturbance="strong")
    demonstrations = [rollout_expert(task, 300 + n, env=env, miss_probability=0.5) for n in range(seeds)]
    assert all(demonstration.success for demonstration in demonstrations)
    assert sum(len(demonstration.events) for demonstration in demonstrations) >= 1


def test_a_missed_grasp_is_tried_again(lift_env):
    missed = [rollout_expert("lift_cube", seed, env=lift_env, miss_probability=1.0) for seed in range(5, 9)]
    assert all(demonstration.success for demonstration in missed)
    again = [demonstration for demonstration in missed if demonstration.num_plans > 1]
    assert len(again) >= 2 and min(len(demonstration.actions) for demonstration in again) > 200


def test_labels_stay_clean_while_what_is_executed_is_disturbed(lift_env):
    demonstration = rollout_expert("lift_cube", 5, 0.02, env=lift_env)
    clean = rollout_expert("lift_cube", 5, 0.0, env=lift_env)
    disturbance = np.abs(demonstration.executed_actions - demonstration.actions)
    rows = min(len(demonstration.actions), len(clean.actions))
    assert np.array_equal(demonstration.actions[:rows], clean.actions[:rows])
    assert np.array_equal(clean.actions, clean.executed_actions)
    assert disturbance[:, 7:13].max() > 0.01
    assert not disturbance[:, [*range(7), 13]].any()
    assert not np.array_equal(demonstration.states[:rows], clean.states[:rows])


def test_rows_are_the_observation_before_the_action(lift_env):
    demonstration = rollout_expert("lift_cube", 6, env=lift_env)
    observation, _ = lift_env.reset(seed=6)
    success_row = None
    for row, action in enumerate(demonstration.executed_actions):
        assert np.array_equal(demonstration.states[row], observation["agent_pos"])
        observation, _, success, _, _ = lift_env.step(action)
        success_row = row if success and success_row is None else success_row
    assert len(demonstration.actions) - 1 - success_row == HOLD_STEPS


@pytest.mark.sim
def test_pictures_taken_afterwards_are_those_of_the_episode():
    env = BimanualEnv("remember_bin", cameras=("top", "right_wrist"), image_size=32)
    demonstration = rollout_expert("remember_bin", 2, env=env)
    afterwards = list(demonstration.render(env, stride=40))
    assert len(afterwards) == -(-len(demonstration.actions) // 40)
    env.reset(seed=2)
    for row, action in enumerate(demonstration.executed_actions):
        if row % 40 == 0:
            for camera, picture in env.images().items():
                assert np.array_equal(picture, afterwards[row // 40][camera])
        env.step(action)
    env.close()


@pytest.mark.sim
def test_pictures_can_be_taken_without_an_environment():
    demonstration = rollout_expert("reach_cube", 2)
    pictures = next(demonstration.render(cameras=("top",), image_size=16))
    assert {name: picture.shape for name, picture in pictures.items()} == {"top": (16, 16, 3)}


def test_an_environment_of_another_task_is_refused(lift_env):
    with pytest.raises(ConfigurationError, match="lift_cube"):
        rollout_expert("reach_cube", 0, env=lift_env)
    demonstration = rollout_expert("reach_cube", 0)
    with pytest.raises(ConfigurationError, match="lift_cube"):
        next(demonstration.render(lift_env))
