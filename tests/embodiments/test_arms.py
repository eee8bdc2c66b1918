import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from foreact.embodiments.arms import Arm
from foreact.embodiments.rotations import num_numbers
from foreact.errors import ConfigurationError, UnknownNameError

FORMATS = ("quaternion_xyzw", "quaternion_wxyz", "axis_angle", "euler_xyz")
REPRESENTATIONS = ("absolute", "delta", "relative")


def pose_arm(rotation_format, representation="absolute", **changes) -> Arm:
    entries = tuple(range(3 + num_numbers(rotation_format)))
    return Arm(
        side="right",
        space="end_effector",
        representation=representation,
        rotation=rotation_format,
        entries=entries,
        **changes,
    )


def random_poses(arm: Arm, num: int, seed: int = 0) -> np.ndarray:
    """Poses with rotations below a half turn and quaternions on the reference's side."""
    rng = np.random.default_rng(seed)
    rotation = Rotation.from_euler("xyz", rng.uniform(-1.0, 1.0, (num, 3)))
    numbers = {
        "quaternion_xyzw": rotation.as_quat(canonical=True),
        "quaternion_wxyz": np.roll(rotation.as_quat(canonical=True), 1, axis=1),
        "axis_angle": rotation.as_rotvec(),
        "euler_xyz": rotation.as_euler("xyz"),
    }[arm.rotation]
    return np.concatenate([rng.normal(size=(num, 3)), numbers / arm.rotation_unit_rad], axis=1)


def test_channels_follow_side_and_space():
    joints = Arm(side="right", space="joint", representation="absolute", entries=(0, 1, 2))
    assert (joints.channels, joints.num_joints) == (slice(21, 24), 3)
    pose = pose_arm("axis_angle")
    assert (pose.channels, pose.num_joints) == (slice(7, 14), 0)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("rotation_format", FORMATS)
def test_pose_round_trip(rotation_format, representation):
    arm = pose_arm(rotation_format, representation)
    actions, initial = random_poses(arm, 20), random_poses(arm, 1, seed=1)
    universal = arm.to_channels(actions, initial)
    np.testing.assert_allclose(np.linalg.norm(universal[:, 3:], axis=1), 1.0)
    np.testing.assert_allclose(arm.from_channels(universal, initial), actions, atol=1e-12)


@pytest.mark.parametrize("rotation_format", FORMATS)
def test_all_formats_of_one_pose_are_one_universal_pose(rotation_format):
    arm, reference = pose_arm(rotation_format), pose_arm("quaternion_xyzw")
    np.testing.assert_allclose(arm.to_channels(random_poses(arm, 5), None), random_poses(reference, 5), atol=1e-12)


def test_units_scale_to_metres_and_radians():
    arm = pose_arm("axis_angle", "delta", position_unit_m=0.05, rotation_unit_rad=0.5)
    universal = arm.to_channels(np.array([[1.0, -1.0, 0.5, 0.0, 0.0, 1.0]]), None)
    np.testing.assert_allclose(universal[0, :3], [0.05, -0.05, 0.025])
    np.testing.assert_allclose(universal[0, 3:], [0.0, 0.0, np.sin(0.25), np.cos(0.25)])


def test_the_first_pose_is_zero_and_identity_when_relative():
    arm = pose_arm("euler_xyz", "relative")
    initial = random_poses(arm, 1)
    np.testing.assert_allclose(arm.to_channels(initial, initial), [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]], atol=1e-12)


def test_relative_poses_add_up_as_published_clients_add_them():
    """Positions add in the base frame; the first rotation times the relative one gives the rotation."""
    arm = pose_arm("quaternion_xyzw", "relative")
    actions, initial = random_poses(arm, 8), random_poses(arm, 1, seed=1)
    universal = arm.to_channels(actions, initial)
    np.testing.assert_allclose(universal[:, :3] + initial[:, :3], actions[:, :3])
    rotation = Rotation.from_quat(initial[:, 3:]) * Rotation.from_quat(universal[:, 3:])
    np.testing.assert_allclose(rotation.as_quat(canonical=True), actions[:, 3:], atol=1e-12)


def test_a_turning_hand_never_jumps_near_its_reference():
    """A hand pointing down has w near 0: without a reference the sign flips as it wobbles."""
    wobble = np.linspace(-0.2, 0.2, 41)
    down = Rotation.from_euler("xyz", np.stack([np.pi + wobble, 0 * wobble, 0 * wobble], axis=1))
    actions = np.concatenate([np.zeros((41, 3)), down.as_quat()], axis=1)
    flips = {
        reference: np.abs(
            np.diff(pose_arm("quaternion_xyzw", reference_quaternion=reference).to_channels(actions, None), axis=0)
        ).max()
        for reference in ((0.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0))
    }
    assert flips[(0.0, 0.0, 0.0, 1.0)] > 1.0
    assert flips[(1.0, 0.0, 0.0, 0.0)] < 0.02


@settings(deadline=None, max_examples=60)
@given(
    numbers=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    first=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
)
def test_without_a_reference_signs_are_kept_and_come_back(numbers, first):
    """What a network gives is executed and fed back as it was, up to its length: also quaternions with w below 0."""
    arm = pose_arm("quaternion_xyzw", "relative", reference_quaternion=(0.0, 0.0, 0.0, 0.0))
    relative = np.array([[0.1, 0.2, 0.3, *(np.array(numbers) / np.linalg.norm(numbers))]])
    initial = np.array([[1.0, 2.0, 3.0, *first]])
    np.testing.assert_allclose(arm.to_channels(arm.from_channels(relative, initial), initial), relative, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    representation=st.sampled_from(REPRESENTATIONS),
    joints=st.lists(st.floats(-7, 7), min_size=3, max_size=3),
    first=st.lists(st.floats(-7, 7), min_size=3, max_size=3),
    unit=st.floats(0.01, 10),
)
def test_joint_round_trip(representation, joints, first, unit):
    arm = Arm(side="left", space="joint", representation=representation, entries=(2, 0, 1), rotation_unit_rad=unit)
    actions, initial = np.array([joints]), np.array([first])
    universal = arm.to_channels(actions, initial)
    origin = initial if representation == "relative" else 0 * initial
    np.testing.assert_allclose(universal, (actions - origin)[:, [2, 0, 1]] * unit)
    np.testing.assert_allclose(arm.from_channels(universal, initial), actions[:, [2, 0, 1]], atol=1e-9)


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("entries", [(1, 0), (0, 2, 1)])
def test_a_hand_that_never_turns_is_its_position_in_metres(representation, entries):
    arm = Arm(
        side="right",
        space="end_effector",
        representation=representation,
        entries=entries,
        position_unit_m=0.01,
    )
    actions, initial = np.random.default_rng(0).normal(size=(5, 3)), np.ones((1, 3))
    universal = arm.to_channels(actions, initial)
    origin = initial if representation == "relative" else 0 * initial
    np.testing.assert_allclose(universal, 0.01 * (actions - origin)[:, entries])
    np.testing.assert_allclose(arm.from_channels(universal, initial), actions[:, entries])
    assert arm.channels == slice(7, 7 + len(entries)) and arm.num_joints == 0
    held = arm.hold(np.array([3.0, 4.0, 5.0]))
    expected = [0.0] * len(entries) if representation == "delta" else np.array([3.0, 4.0, 5.0])[list(entries)]
    np.testing.assert_array_equal(held, expected)


def test_hold_keeps_targets_and_stops_increments():
    state = np.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.6, 0.8])
    absolute, delta = (pose_arm("quaternion_xyzw", name) for name in ("absolute", "delta"))
    np.testing.assert_array_equal(absolute.hold(state), state)
    np.testing.assert_array_equal(delta.hold(state), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    joints = Arm(side="left", space="joint", representation="delta", entries=(0, 1))
    np.testing.assert_array_equal(joints.hold(state), [0.0, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entries": ()}, "left arm: number of joints; got: 0"),
        ({"entries": tuple(range(8))}, "number of joints; got: 8; allowed: 1 to 7"),
        ({"rotation": "axis_angle"}, "left arm: rotation format; got: axis_angle"),
        ({"space": "end_effector", "entries": (0,)}, "number of entries; got: 1; allowed: 2 or 3 without a rotation"),
        ({"space": "end_effector", "entries": (0, 1, 2, 3)}, "number of entries; got: 4"),
        ({"space": "end_effector", "rotation": "euler_xyz"}, r"number of entries; got: 2; allowed: 3 \+ 3"),
        ({"rotation_unit_rad": 0.0}, "left arm: units"),
        ({"position_unit_m": float("nan")}, "left arm: units"),
        ({"reference_quaternion": (0.0, 0.0, 0.0, float("nan"))}, "reference_quaternion.*finite"),
    ],
)
def test_impossible_arms(change, message):
    with pytest.raises(ConfigurationError, match=message):
        Arm(**{"side": "left", "space": "joint", "representation": "absolute", "entries": (0, 1), **change})


def test_quaternions_have_no_other_unit():
    with pytest.raises(ConfigurationError, match=r"rotation_unit_rad.*1 for quaternions"):
        pose_arm("quaternion_wxyz", rotation_unit_rad=0.5)


def test_unknown_settings_are_refused_in_the_gripper_too():
    data = {"side": "left", "space": "joint", "representation": "absolute", "entries": [0]}
    with pytest.raises(UnknownNameError, match="setting of arm"):
        Arm.from_dict({**data, "hand": 1})
    with pytest.raises(UnknownNameError, match="setting of gripper"):
        Arm.from_dict({**data, "gripper": {"entry": 1, "open": 1, "closed": 0, "force": 3}})
