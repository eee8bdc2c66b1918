"""The environment as gymnasium sees it."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from foreact.errors import ConfigurationError, InputError, SimulationError, UnknownNameError
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.experts import make_expert
from foreact.simulation.tasks import TASKS


def test_gymnasium_finds_nothing_wrong():
    check_env(gymnasium.make("foreact/LiftCube-v0").unwrapped, skip_render_check=True)


@pytest.mark.parametrize("task", TASKS)
def test_observation_and_info_are_as_promised(task):
    env = BimanualEnv(task)
    observation, info = env.reset(seed=1)
    assert list(observation) == ["agent_pos"]
    assert observation["agent_pos"].dtype == np.float32 and observation["agent_pos"].shape == (14,)
    assert np.array_equal(observation["agent_pos"], env.state())
    total = len(TASKS[task].stages)
    stage = TASKS[task].stages[0]
    progress = {"stages_done": 0, "num_stages": total, "progress": 0.0}
    assert info == {"stage": stage, **progress, "success": False, "is_success": False, "disturbances": []}
    assert env.instruction == TASKS[task].instruction


@pytest.mark.sim
def test_equal_seeds_and_actions_give_equal_states_and_pixels():
    def play():
        env = BimanualEnv("lift_cube", image_size=32, obs_type="pixels_agent_pos")
        rows = [env.reset(seed=11)[0]]
        rng = np.random.default_rng(0)
        for _ in range(25):
            rows.append(env.step(env.start.pose + rng.normal(0, 0.1, 14))[0])
        env.close()
        return rows

    for first, second in zip(play(), play(), strict=True):
        assert np.array_equal(first["agent_pos"], second["agent_pos"])
        assert all(np.array_equal(first["pixels"][camera], second["pixels"][camera]) for camera in first["pixels"])


def test_an_episode_does_not_depend_on_those_before_it(lift_env):
    def end(env):
        env.reset(seed=5)
        expert = make_expert(env)
        for _ in range(60):
            env.step(expert.act())
        return env.world.positions()

    lift_env.reset(seed=6)
    for _ in range(30):
        lift_env.step(np.zeros(14))
    assert np.array_equal(end(lift_env), end(BimanualEnv("lift_cube")))


def test_success_terminates_with_reward_and_full_progress():
    env = BimanualEnv("reach_cube")
    env.reset(seed=2)
    expert = make_expert(env)
    progress = []
    for _ in range(env.task.max_steps):
        _, reward, terminated, truncated, info = env.step(expert.act())
        progress.append(info["progress"])
        if terminated:
            break
    assert (reward, terminated, truncated, info["success"], info["stage"]) == (1.0, True, False, True, "done")
    assert progress == sorted(progress) and set(progress) == {0, 1 / 3, 2 / 3, 1}


def test_time_runs_out():
    env = BimanualEnv("reach_cube")
    env.reset(seed=2)
    results = [env.step(env.start.pose) for _ in range(env.task.max_steps)]
    assert [truncated for _, _, _, truncated, _ in results].index(True) == env.task.max_steps - 1
    assert not any(terminated for _, _, terminated, _, _ in results)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.full(14, np.nan), "finite"),
        (np.full(14, np.inf), "finite"),
        (np.zeros(13), r"\(13,\)"),
        (np.zeros((1, 14)), r"\(1, 14\)"),
        (np.array(["forward"] * 14), "14 numbers"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(lift_env, action, message):
    lift_env.reset(seed=0)
    before = lift_env.world.data.qpos.copy()
    with pytest.raises(InputError, match=message):
        lift_env.step(action)
    assert lift_env.num_steps == 0
    assert np.array_equal(before, lift_env.world.data.qpos)


def test_step_and_recall_need_a_reset():
    env = BimanualEnv("reach_cube")
    with pytest.raises(SimulationError, match="before reset"):
        env.step(np.zeros(14))
    with pytest.raises(SimulationError, match="before reset"):
        env.recall(env.world.positions(), 0)


def test_unknown_task_and_observation_type_are_refused():
    with pytest.raises(UnknownNameError, match="lift_cube"):
        BimanualEnv("juggle")
    with pytest.raises(ConfigurationError, match="pixels_agent_pos"):
        BimanualEnv("lift_cube", obs_type="pixels")


@pytest.mark.sim
def test_render_shows_the_first_camera():
    env = gymnasium.make("foreact/ReachCube-v0", render_mode="rgb_array", image_size=16, obs_type="pixels_agent_pos")
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert np.array_equal(env.render(), observation["pixels"]["top"])
    env.close()
    assert BimanualEnv("reach_cube").render() is None
