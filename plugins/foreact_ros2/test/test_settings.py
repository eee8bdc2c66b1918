from array import array

import pytest

from foreact.errors import ConfigurationError, UnknownNameError
from foreact_ros2.settings import BridgeSettings, read_parameters


def test_the_example(aloha) -> None:
    settings = read_parameters(aloha | {"use_sim_time": False, "qos_overrides./tf.publisher.depth": 1})
    assert [joint.action for joint in settings.joints][6] == "left_gripper" and len(settings.joints) == 14
    assert settings.commands[2].message == "array" and settings.commands[0].message == "trajectory"
    assert settings.token_file is None and settings.cameras[0].topic == "/camera_top/image_raw"


def test_limits_follow_the_order_that_the_policy_says(configured) -> None:
    limits = configured().limits(["gripper", "elbow"])
    assert limits.low == (0.0, -2.0) and limits.high == (1.0, 2.0)


def test_ros_hands_lists_of_numbers_as_arrays(parameters) -> None:
    with pytest.raises(ConfigurationError, match="joint_states"):
        read_parameters(parameters | {"joint_states": array("d", [1.0])})


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"image_age": 0.1}, UnknownNameError, "image_age_s"),
        ({"joints.elbow.speed": 1.0}, UnknownNameError, "joint 'elbow'"),
        ({"joints.elbow.scale": 0.0}, ConfigurationError, "scale"),
        ({"joints.elbow.following": 0.0}, ConfigurationError, "following"),
        ({"joints.elbow.velocity": 0.0}, ConfigurationError, "velocity"),
        ({"joints.elbow.low": 3.0}, ConfigurationError, "low"),
        ({"joints.elbow.joint": "arm/1"}, ConfigurationError, "once"),
        ({"commands.hand.joints": ["finger", "arm/1"]}, ConfigurationError, "once"),
        ({"commands.hand.joints": ["fingers"]}, ConfigurationError, "once"),
        ({"commands.hand.message": "pose"}, ConfigurationError, "trajectory, array"),
        ({"cameras.top.compressed": "yes"}, ConfigurationError, "compressed"),
        ({"cameras": "top"}, ConfigurationError, "one of them"),
        ({"image_age_s": 0.0}, ConfigurationError, "image_age_s"),
        ({"emergency_age_s": -1.0}, ConfigurationError, "emergency_age_s"),
        ({"joint_states": []}, ConfigurationError, "joint_states"),
    ],
)
def test_refused(parameters, changes, error, words) -> None:
    for given in (parameters | changes, changes | parameters | changes):  # in whatever order they come
        with pytest.raises(error, match=words):
            read_parameters(given)


@pytest.mark.parametrize("lacking", ["joints.elbow.low", "joints.elbow.velocity", "joints.elbow.acceleration"])
def test_nothing_moves_without_limits(parameters, lacking) -> None:
    del parameters[lacking]
    with pytest.raises(ConfigurationError, match=lacking.split(".")[-1]):
        read_parameters(parameters)


@pytest.mark.parametrize("table", ["top", {"top": "/top"}])
def test_tables_are_tables(parameters, table) -> None:
    rest = {name: value for name, value in parameters.items() if not name.startswith("cameras.")}
    with pytest.raises(ConfigurationError, match="camera"):
        read_parameters(rest | {"cameras": table})


def test_no_camera(configured) -> None:
    settings = vars(configured()) | {"cameras": ()}
    with pytest.raises(ConfigurationError, match="cameras"):
        BridgeSettings(**settings)
