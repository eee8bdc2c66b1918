import numpy as np

from foreact.control.robot import Robot
from foreact.evaluation.robots import SimulatedRobot


def test_a_simulated_robot_is_a_robot(toy_env) -> None:
    env = toy_env()
    robot = SimulatedRobot(env, seed=4, control_hz=50.0)
    assert isinstance(robot, Robot)
    assert env.resets == [4] and robot.instruction == "push it" and not robot.done
    for step in range(13):
        assert not robot.done
        assert robot.observe().time_s == step / 50
        robot.act(np.full(3, 0.5, np.float32))
    assert robot.done and robot.info["success"]
    assert robot.observe().state.tolist() == [0.5] * 3
    assert set(robot.observe().images) == {"top", "wrist"}


def test_the_time_limit_ends_it_too(toy_env) -> None:
    robot = SimulatedRobot(toy_env(), seed=5, control_hz=50.0)
    while not robot.done:
        robot.act(np.zeros(3, np.float32))
    assert robot.num_steps == 20 and not robot.info["success"]
