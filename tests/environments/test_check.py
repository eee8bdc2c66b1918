"""Whether a robot can act in a world is asked before the first episode, in one sentence with the cure."""

from dataclasses import replace

import pytest

from foreact.embodiments import CameraLayout, Timing, load_embodiment
from foreact.environments import check_world, make_world
from foreact.errors import ConfigurationError, UnknownNameError
from foreact.simulation.environment import BimanualEnv


@pytest.fixture(scope="module")
def env() -> BimanualEnv:
    return BimanualEnv("lift_cube", cameras=("top",))


def test_another_number_of_actions(env) -> None:
    with pytest.raises(ConfigurationError, match=r"robot 'sawyer' in aloha/lift_cube; got: 4 numbers.*allowed: 14"):
        check_world(env, load_embodiment("sawyer"))


def test_another_rate(env) -> None:
    slow = replace(load_embodiment("aloha"), timing=Timing(action_hz=25.0))
    with pytest.raises(
        ConfigurationError, match=r"got: 25 actions a second; allowed: 50, as the world runs; use a policy"
    ):
        check_world(env, slow)


def test_a_camera_that_takes_no_pictures(env) -> None:
    with pytest.raises(
        ConfigurationError, match=r"cameras of robot 'aloha' in aloha/lift_cube; got: left_wrist, right"
    ):
        check_world(env, load_embodiment("aloha"))


def test_a_world_is_made_for_a_robot_or_not_at_all() -> None:
    robot = load_embodiment("aloha")
    assert make_world("lift_cube", robot).cameras == robot.cameras
    odd = replace(robot, layout=CameraLayout(kind="side_by_side", cameras=("elbow",), height=16, width=16))
    with pytest.raises(ConfigurationError, match=r"robot 'aloha' in lift_cube; got: unknown camera; got: 'elbow'"):
        make_world("lift_cube", odd)
    with pytest.raises(ConfigurationError, match="25 actions a second"):
        make_world("lift_cube", replace(robot, timing=Timing(action_hz=25.0)))
    with pytest.raises(UnknownNameError, match="protocol of aloha"):
        make_world("lift_cube", robot, protocol="libero-openpi")
