"""Experts, step by step."""

import numpy as np
import pytest

from foreact.errors import SimulationError
from foreact.simulation.disturbances import MOVE_STEPS
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.experts import REACTION_STEPS, make_expert


def test_needs_a_reset():
    with pytest.raises(SimulationError, match="before reset"):
        make_expert(BimanualEnv("reach_cube"))


def test_labels_begin_at_the_measured_pose_and_are_smooth(lift_env):
    lift_env.reset(seed=3)
    expert = make_expert(lift_env)
    previous, labels = lift_env.state(), []
    while not expert.done:
        labels.append(expert.act())
        lift_env.step(labels[-1])
    labels = np.stack([previous, *labels])
    assert labels.dtype == np.float32 and labels.shape[1] == 14
    assert np.abs(np.diff(labels[:, [*range(6), *range(7, 13)]], axis=0)).max() < 0.1
    assert labels[:, [6, 13]].min() >= 0 and labels[:, [6, 13]].max() <= 1


def test_the_arm_without_work_stands_still_undisturbed(lift_env):
    lift_env.reset(seed=3)
    expert = make_expert(lift_env)
    first = expert.act()
    for _ in range(40):
        lift_env.step(expert.act())
    assert np.array_equal(expert.act()[:7], first[:7])
    assert not np.array_equal(expert.act()[7:], first[7:])
    assert expert.slack[0] == 0 < expert.slack[1]


def test_asking_twice_in_a_step_changes_nothing_much(lift_env):
    lift_env.reset(seed=4)
    expert = make_expert(lift_env)
    assert np.allclose(expert.act(), expert.act(), atol=2e-3)


def test_plans_again_after_the_cube_was_moved_and_lies_still():
    env = BimanualEnv("reach_cube", disturbance="nudge")
    env.reset(seed=8)
    expert, planned = make_expert(env), []
    while not env.succeeded:
        env.step(expert.act())
        planned.append(expert.num_plans)
    (event,) = env.events
    assert planned[event.step + REACTION_STEPS - 1] == 1 and planned[-1] >= 2
    assert planned.index(2) <= event.step + MOVE_STEPS + 2 * REACTION_STEPS


def test_a_plan_begins_where_the_arms_were_sent_so_that_labels_never_jump():
    env = BimanualEnv("lift_cube", disturbance="strong")
    env.reset(seed=301)
    expert, labels = make_expert(env), []
    while not env.succeeded:
        labels.append(expert.act())
        env.step(labels[-1])
    assert expert.num_plans > 1
    assert np.abs(np.diff(np.stack(labels)[:, 7:13], axis=0)).max() < 0.2


def test_waits_for_the_yellow_light():
    env = BimanualEnv("remember_bin")
    env.reset(seed=0)
    expert = make_expert(env)
    first = expert.act()
    while env.num_steps < env.start.go_step - 1:
        assert np.allclose(expert.act(), first, atol=1e-6)
        env.step(expert.act())
    for _ in range(10):
        env.step(expert.act())
    assert not np.allclose(expert.act(), first, atol=1e-3)
