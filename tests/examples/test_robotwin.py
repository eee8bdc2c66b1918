"""RoboTwin's evaluation loop over a double of its task object, through `examples/robotwin/deploy_policy.py`."""

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from foreact.embodiments import ActionCodec, Arm, Dof, Embodiment, Gripper
from foreact.policy.policy import Policy

PATH = Path(__file__).parents[2] / "examples" / "robotwin" / "deploy_policy.py"


@pytest.fixture(scope="module")
def example():
    spec = spec_from_file_location("deploy_policy", PATH)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["joint", "end_effector"])
def policy(tiny, request) -> Policy:
    """The tiny network on two arms, told joints or poses."""
    base, count = tiny.policy(), 6 if request.param == "joint" else 7
    given = {"space": request.param, "representation": "absolute"}
    if request.param == "end_effector":
        given["rotation"] = "quaternion_xyzw"
    arms = tuple(
        Arm(
            side=side,
            entries=tuple(range(first, first + count)),
            gripper=Gripper(entry=first + count, open=1.0, closed=0.0),
            **given,
        )
        for side, first in (("left", 0), ("right", count + 1))
    )
    robot = Embodiment(
        name="two_arms",
        description="Two arms.",
        dofs=tuple(Dof(name=f"entry_{n}") for n in range(2 * count + 2)),
        arms=arms,
        layout=replace(base.embodiment.layout, cameras=("cam_high", "cam_left_wrist")),
        timing=base.embodiment.timing,
    )
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 30)) * robot.channel_mask
    return Policy(base.networks, ActionCodec.fit(robot, actions), base.config)


class TaskEnv:
    """What the evaluation loop and a policy use of RoboTwin's task; done after `num_needed` actions."""

    step_lim = 30

    def __init__(self, num_needed: int):
        self.take_action_cnt, self.eval_success, self.taken, self.num_needed = 0, False, [], num_needed
        self.num_pictures = 0

    def get_instruction(self) -> str:
        return "push it"

    def get_obs(self) -> dict:
        self.num_pictures += 1
        picture = {"rgb": np.full((24, 32, 3), 10 + self.take_action_cnt, np.uint8)}
        pose = [0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 1.0]
        return {
            "observation": dict.fromkeys(("head_camera", "left_camera", "right_camera"), picture),
            "joint_action": {"vector": np.linspace(0, 1, 14)},
            "endpose": {"left_endpose": pose, "left_gripper": 1.0, "right_endpose": pose, "right_gripper": 0.0},
        }

    def take_action(self, action: np.ndarray, action_type: str) -> None:
        assert (action_type, len(action)) in (("qpos", 14), ("ee", 16))
        self.taken.append(action)
        self.take_action_cnt += 1
        self.eval_success = self.take_action_cnt >= self.num_needed


def run(example, model, env: TaskEnv) -> None:
    """The loop of script/eval_policy.py."""
    example.reset_model(model)
    while env.take_action_cnt < env.step_lim:
        example.eval(env, model, env.get_obs())
        if env.eval_success:
            break


def test_two_episodes_one_that_succeeds_and_one_whose_time_is_up(example, policy, one_thread) -> None:
    model = example.Model(policy)
    done, late = TaskEnv(13), TaskEnv(1000)
    run(example, model, done)
    assert (done.take_action_cnt, model.num_episodes) == (13, 0)
    assert done.num_pictures == 2 + 4 + 2, "one for each call, and one for every two actions while it goes on"
    run(example, model, late)
    assert (late.take_action_cnt, model.num_episodes, late.eval_success) == (30, 1, False)
    again = TaskEnv(13)
    model.session, model.num_episodes = None, 0
    run(example, model, again)
    assert np.array_equal(np.stack(again.taken), np.stack(done.taken))


def test_the_policy_is_loaded_by_name(example) -> None:
    assert example.get_model({"policy_path": "tiny"}).action_type == "qpos"
