import tomllib
from dataclasses import replace

import numpy as np
import pytest

from foreact.embodiments import Embodiment, load_embodiment
from foreact.embodiments.proposal import Recorded, entry_names, propose, to_toml
from foreact.errors import ConfigurationError

SO101 = ("shoulder_pan.pos", "shoulder_lift.pos", "elbow_flex.pos", "wrist_flex.pos", "wrist_roll.pos", "gripper.pos")
ALOHA = tuple(
    f"{s}_{j}" for s in ("left", "right") for j in ("waist", "shoulder", "elbow", "roll", "angle", "rotate", "gripper")
)
HAND = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")


def walk(names, scale, *, seed=0, grippers=()):
    """States that wander, and the targets that lead there a row later."""
    rng = np.random.default_rng(seed)
    states = np.cumsum(rng.normal(size=(400, len(names))), axis=0)
    states = scale * (states - states.min(0)) / np.ptp(states, axis=0) - scale / 2
    for name, (low, high) in dict(grippers).items():
        place = names.index(name)
        states[:, place] = low + (high - low) * (states[:, place] / scale + 0.5)
    return states


def recorded(names, states, actions=None, *, fps=30.0, kind="so101_follower", cameras=("front",), state_names=None):
    actions = np.concatenate([states[1:], states[-1:]]) if actions is None else actions
    return Recorded(
        robot_type=kind,
        fps=fps,
        action_names=tuple(names),
        state_names=tuple(state_names or names),
        cameras=tuple(cameras),
        actions=actions,
        states=states,
    )


def test_one_arm_in_degrees():
    made = recorded(SO101, walk(SO101, 120.0, grippers=[("gripper.pos", (0, 98))]), cameras=("front", "wrist"))
    robot, notes = propose(made)
    (arm,) = robot.arms
    assert (arm.side, arm.space, arm.representation, arm.entries) == ("left", "joint", "absolute", (0, 1, 2, 3, 4))
    assert arm.rotation_unit_rad == pytest.approx(np.pi / 180)
    assert (arm.gripper.entry, arm.gripper.open, arm.gripper.closed) == (5, 100.0, 0.0)
    assert robot.cameras == ("front", "wrist") and robot.layout.kind == "side_by_side"
    assert any("degrees" in note for note in notes) and robot.state_names == ()
    np.testing.assert_allclose(robot.from_universal(robot.to_universal(made.actions)), made.actions, atol=1e-9)


@pytest.mark.parametrize("named", [True, False])
def test_two_arms_in_radians(named):
    names = ALOHA if named else tuple(f"motor_{n}" for n in range(14))
    states = walk(names, 2.0, grippers=[(names[6], (0, 1)), (names[13], (0, 1))])
    robot, notes = propose(
        recorded(names, states, fps=50.0, kind="aloha", cameras=("cam_left_wrist", "cam_high", "cam_right_wrist"))
    )
    assert [arm.side for arm in robot.arms] == ["left", "right"]
    assert [arm.entries for arm in robot.arms] == [(0, 1, 2, 3, 4, 5), (7, 8, 9, 10, 11, 12)]
    assert all(arm.rotation_unit_rad == 1 and arm.gripper.open == 1 for arm in robot.arms)
    assert robot.layout.kind == "t_shape" and robot.cameras == ("cam_high", "cam_left_wrist", "cam_right_wrist")
    assert any("first half" in note for note in notes) != named


@pytest.mark.parametrize("increments", [True, False])
def test_a_hand_in_increments_or_poses(increments):
    states = walk(HAND, 0.4, grippers=[("gripper", (-1, 1))])
    actions = None
    if increments:
        change = np.diff(states, axis=0, append=states[-1:])
        actions = change / np.abs(change).max(0)
        actions[:, 6] = np.sign(states[:, 6])
    robot, _ = propose(recorded(HAND, states, actions, kind="franka", fps=20.0))
    (arm,) = robot.arms
    assert (arm.space, arm.rotation) == ("end_effector", "euler_xyz")
    assert arm.representation == ("delta" if increments else "relative")
    assert (arm.gripper.open, arm.gripper.closed) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("rotation", "form"),
    [
        (("qx", "qy", "qz", "qw"), "quaternion_xyzw"),
        (("qw", "qx", "qy", "qz"), "quaternion_wxyz"),
        (("rot_x", "rot_y", "rot_z"), "axis_angle"),
    ],
)
def test_rotations_by_name(rotation, form):
    names = ("pos_x", "pos_y", "pos_z", *rotation)
    robot, notes = propose(recorded(names, walk(names, 0.4), kind="ur"))
    assert robot.arms[0].rotation == form and any("no gripper" in note for note in notes)


def test_a_state_of_another_shape_gets_names_and_the_grippers_place():
    state_names = (*(f"joint_{n}" for n in range(6)), "extra", "finger_left")
    states = np.random.default_rng(0).uniform(0, 0.04, (100, 8))
    robot, _ = propose(
        recorded(HAND, states, np.random.default_rng(1).uniform(-1, 1, (100, 7)), state_names=state_names)
    )
    gripper = robot.arms[0].gripper
    assert robot.state_names == state_names and gripper.state_entry == 7
    assert gripper.state_open == pytest.approx(0.04, abs=2e-3)


@pytest.mark.parametrize(
    ("fps", "stride"), [(5, 1), (10, 1), (15, 1), (20, 2), (25, 2), (30, 2), (50, 4), (60, 5), (100, 8), (29.97, 2)]
)
def test_any_rate_has_a_timing(fps, stride):
    robot, _ = propose(recorded(SO101, walk(SO101, 2.0), fps=float(fps)))
    assert (robot.timing.action_hz, robot.timing.camera_stride) == (fps, stride)


def test_more_than_seven_joints_are_raw_numbers_and_said():
    names = tuple(f"joint_{n}" for n in range(12))
    robot, notes = propose(recorded(names, walk(names, 2.0), kind="humanoid"))
    assert robot.channels == tuple(range(12)) and not robot.arms
    assert any("describe the arms" in note for note in notes)


def test_what_cannot_be_proposed():
    names = tuple(f"joint_{n}" for n in range(31))
    with pytest.raises(ConfigurationError, match="entries of the action; got: 31; allowed: 30"):
        propose(recorded(names, walk(names, 2.0)))
    with pytest.raises(ConfigurationError, match="cameras of the dataset; got: none"):
        propose(recorded(SO101, walk(SO101, 2.0), cameras=()))


@pytest.mark.parametrize("names", [SO101, ALOHA, HAND, tuple(f"joint_{n}" for n in range(12))])
def test_the_file_is_the_robot(tmp_path, names):
    robot, notes = propose(recorded(names, walk(names, 2.0)))
    path = tmp_path / "robot.toml"
    path.write_text(to_toml(robot, notes))
    assert load_embodiment(path) == robot
    assert Embodiment.from_dict(tomllib.loads(path.read_text())) == robot
    assert all(note in path.read_text() for note in notes)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ("a", "b")),
        ({"motors": ["a", "b"]}, ("a", "b")),
        ({"a": 0, "b": 1}, ("a", "b")),
        ({"arms": {"left": ["a"], "right": ["b"]}}, ("a", "b")),
        (None, ("x_0", "x_1")),
        (["a"], ("x_0", "x_1")),
        (["a", "a"], ("x_0", "x_1")),
    ],
)
def test_names_however_they_are_nested(names, expected):
    assert entry_names({"shape": [2], "names": names}, "x") == expected


def test_speeds_are_those_that_were_recorded():
    """Two episodes; the jump between them is no motion. A joint that stood still gets no speed."""
    names = ("one.pos", "two.pos", "gripper.pos")
    steady = np.stack([np.arange(40.0), np.full(40, 3.0), np.linspace(0, 98, 40)], axis=1)
    both = np.concatenate([steady, steady + np.array([500.0, 0.0, 0.0])])
    robot, _ = propose(replace(recorded(names, both, both), first_rows=(0, 40)))
    assert robot.dofs[0].velocity == pytest.approx(1.2 * 30.0) and robot.dofs[0].acceleration == pytest.approx(360.0)
    assert robot.dofs[1].velocity is None and robot.dofs[1].unit == "deg"
    sudden = both.copy()
    sudden[20:, 0] += 10.0  # within an episode: 11 in one step
    robot, _ = propose(replace(recorded(names, sudden, sudden), first_rows=(0, 40)))
    assert robot.dofs[0].velocity == pytest.approx(1.2 * 330.0)
    assert robot.dofs[0].acceleration == pytest.approx(1.2 * 10 * 30 * 30)
