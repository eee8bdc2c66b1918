import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foreact.embodiments import Arm, Embodiment, Gripper, embodiment_names, load_embodiment
from foreact.embodiments.embodiment import Dof
from foreact.errors import ConfigurationError, InputError, UnknownNameError

ALOHA = load_embodiment("aloha")
PANDA = load_embodiment("libero_panda")
LIBERO = load_embodiment("libero_published")
ROBOTWIN = load_embodiment("robotwin_aloha")


def robot(*arms: Arm, num_dofs: int, **changes) -> Embodiment:
    dofs = tuple(Dof(name=f"dof{n}") for n in range(num_dofs))
    return dataclasses.replace(ALOHA, name="robot", dofs=dofs, arms=arms, **changes)


def pose_robot(representation) -> Embodiment:
    """Two arms with quaternion poses, interleaved in the action vector, one gripper."""
    right = Arm(
        side="right",
        space="end_effector",
        representation=representation,
        rotation="quaternion_wxyz",
        entries=(8, 7, 6, 5, 4, 3, 2),
        reference_quaternion=(0.0, 1.0, 0.0, 0.0),
        gripper=Gripper(entry=0, open=0.0, closed=255.0),
    )
    left = Arm(side="left", space="joint", representation=representation, entries=(1, 9))
    return robot(right, left, num_dofs=10)


def pose_actions(num: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1.0, 1.0, (num, 10))
    quaternions = actions[:, [5, 4, 3, 2]]
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    actions[:, [5, 4, 3, 2]] = quaternions * np.where(quaternions[:, 2] < 0, -1, 1)[:, None]
    return actions


def test_the_shipped_robots_are_found_by_name_and_by_path(tmp_path):
    assert embodiment_names() == ("aloha", "libero_panda", "libero_published", "planar", "robotwin_aloha", "sawyer")
    path = tmp_path / "mine.toml"
    path.write_text(
        """
        name = "mine"
        description = "one joint"
        dofs = [{ name = "joint" }]
        arms = [{ side = "right", space = "joint", representation = "delta", entries = [0] }]
        layout = { kind = "side_by_side", cameras = ["eye"], height = 16, width = 16 }
        timing = { action_hz = 10, camera_stride = 1 }
        """
    )
    mine = load_embodiment(path)
    assert load_embodiment(str(path)) == mine
    assert (mine.num_dofs, mine.cameras, mine.timing.action_hz) == (1, ("eye",), 10.0)
    assert np.flatnonzero(mine.channel_mask).tolist() == [21]


def test_aloha():
    assert ALOHA.num_dofs == ALOHA.num_state_entries == 14
    assert ALOHA.dof_names[6] == "left_gripper" and ALOHA.dof_names[7] == "right_waist"
    used = [*range(14, 20), *range(21, 27), 28, 29]
    assert np.flatnonzero(ALOHA.channel_mask).tolist() == used
    assert ALOHA.cameras == ("top", "left_wrist", "right_wrist")
    assert (ALOHA.timing.actions_per_latent_frame, ALOHA.timing.actions_per_chunk) == (16, 64)
    actions = np.arange(28.0).reshape(2, 14)
    universal = ALOHA.to_universal(actions)
    np.testing.assert_array_equal(universal[:, 14:20], actions[:, :6])
    np.testing.assert_array_equal(universal[:, 21:27], actions[:, 7:13])
    np.testing.assert_array_equal(universal[:, 28:], actions[:, [6, 13]])


def test_libero_panda():
    assert PANDA.timing.actions_per_latent_frame == 4
    assert np.flatnonzero(PANDA.channel_mask).tolist() == [*range(7), 28]
    universal = PANDA.to_universal(np.array([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]]))
    np.testing.assert_allclose(universal[0, [0, 6, 28]], [0.05, 1.0, 1.0])
    state = np.array([0.4, 0.0, 1.0, 3.1, 0.0, 0.0, 0.04, -0.04])
    np.testing.assert_array_equal(PANDA.hold_action(state), [0, 0, 0, 0, 0, 0, -1.0])


def test_libero_as_published():
    """The released configuration: seven raw numbers in channels 0 to 6, bilinear, four actions a latent frame."""
    assert np.flatnonzero(LIBERO.channel_mask).tolist() == list(range(7))
    assert not LIBERO.needs_initial_pose and np.isinf(LIBERO.limits).all()
    assert LIBERO.timing.actions_per_latent_frame == LIBERO.timing.latent_frames_per_chunk == 4
    assert (LIBERO.layout.canvas_shape(16), LIBERO.layout.resampling) == ((8, 16), "bilinear")
    actions = np.random.default_rng(0).normal(size=(3, 7))
    np.testing.assert_array_equal(LIBERO.to_universal(actions)[:, :7], actions)


def hamilton(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The product of two quaternions (x, y, z, w), from the definition."""
    vector = p[3] * q[:3] + q[3] * p[:3] + np.cross(p[:3], q[:3])
    return np.array([*vector, p[3] * q[3] - p[:3] @ q[:3]])


def test_robotwin_as_published():
    """The released client: the first position is added, the first rotation multiplied from the left."""
    assert np.flatnonzero(ROBOTWIN.channel_mask).tolist() == [*range(14), 28, 29]
    assert (ROBOTWIN.timing.actions_per_latent_frame, ROBOTWIN.timing.latent_frames_per_chunk) == (16, 2)
    assert (ROBOTWIN.layout.canvas_shape(16), ROBOTWIN.layout.resampling) == ((24, 20), "bilinear")
    rng = np.random.default_rng(0)
    universal, first = rng.normal(size=(1, 30)), rng.normal(size=16)
    for start in (3, 11):
        first[start : start + 4] /= np.linalg.norm(first[start : start + 4])
    np.testing.assert_array_equal(ROBOTWIN.hold_action(np.abs(first).clip(0, 1)), np.abs(first).clip(0, 1))
    action = ROBOTWIN.from_universal(universal, first)[0]
    for arm, gripper in ((0, 28), (1, 29)):
        own, stored, pose = action[8 * arm :], universal[0, 7 * arm :], first[8 * arm :]
        np.testing.assert_allclose(own[:3], stored[:3] + pose[:3])
        rotation = hamilton(pose[3:7], stored[3:7])
        np.testing.assert_allclose(own[3:7], rotation / np.linalg.norm(rotation))
        assert own[7] == pytest.approx(universal[0, gripper])


def raw_robot(channels: tuple[int, ...], num_dofs: int | None = None, **changes) -> Embodiment:
    return robot(num_dofs=len(channels) if num_dofs is None else num_dofs, channels=channels, **changes)


@settings(deadline=None, max_examples=60)
@given(channels=st.permutations(range(30)), count=st.integers(1, 30), data=st.data())
def test_raw_numbers_go_into_their_channels_and_come_back_exactly(channels, count, data):
    embodiment = raw_robot(tuple(channels[:count]))
    numbers = st.floats(-1e6, 1e6)
    actions = data.draw(arrays(np.float64, (data.draw(st.integers(0, 3)), count), elements=numbers))
    universal = embodiment.to_universal(actions)
    assert sorted(channels[:count]) == np.flatnonzero(embodiment.channel_mask).tolist()
    assert not universal[:, ~embodiment.channel_mask].any()
    for entry, channel in enumerate(channels[:count]):
        np.testing.assert_array_equal(universal[:, channel], actions[:, entry])
    np.testing.assert_array_equal(embodiment.from_universal(universal), actions)


@pytest.mark.parametrize(
    ("channels", "num_dofs", "got"),
    [((0, 0), 2, r"\[0, 0\]"), ((0, 30), 2, r"\[0, 30\]"), ((-1,), 1, r"\[-1\]"), ((0, 1), 3, r"\[0, 1\]")],
)
def test_channels_that_do_not_fit_the_robot(channels, num_dofs, got):
    with pytest.raises(ConfigurationError, match=f"channels of 'robot'; got: {got}; allowed: {num_dofs} different"):
        raw_robot(channels, num_dofs)


def test_a_robot_has_arms_or_channels():
    with pytest.raises(ConfigurationError, match="either arms or channels"):
        dataclasses.replace(ALOHA, channels=tuple(range(14)))
    with pytest.raises(ConfigurationError, match=r"entries of the arms of 'robot'; got: \[\]"):
        robot(num_dofs=2)


def test_nobody_knows_how_raw_numbers_hold_a_robot_still():
    with pytest.raises(ConfigurationError, match=r"stay where you are.*first_frame = \"chunk\""):
        LIBERO.hold_action(np.zeros(8))


def test_saved_text_names_only_what_differs_from_arms_and_antialiasing():
    """Checkpoints, training states and caches from before these settings existed stay equal to new ones."""
    assert "channels" not in ALOHA.to_dict() and "resampling" not in ALOHA.to_dict()["layout"]
    assert LIBERO.to_dict()["channels"] == list(range(7)) and LIBERO.to_dict()["layout"]["resampling"] == "bilinear"


@pytest.mark.parametrize("name", ["aloha", "libero_panda", "libero_published", "planar", "sawyer"])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_round_trip_of_the_shipped_robots(name, data):
    embodiment = load_embodiment(name)
    shape = (data.draw(st.integers(0, 4)), embodiment.num_dofs)
    actions = data.draw(arrays(np.float64, shape, elements=st.floats(-2, 2)))
    universal = embodiment.to_universal(actions)
    assert universal.shape == (len(actions), 30)
    assert not universal[:, ~embodiment.channel_mask].any()
    np.testing.assert_allclose(embodiment.from_universal(universal), actions, atol=1e-9)


@pytest.mark.parametrize("representation", ["absolute", "delta", "relative"])
def test_round_trip_of_interleaved_arms(representation):
    embodiment, actions, initial = pose_robot(representation), pose_actions(50), pose_actions(1, seed=1)[0]
    universal = embodiment.to_universal(actions, initial)
    again = embodiment.from_universal(universal, initial)
    quaternion = [5, 4, 3, 2]
    # A relative rotation may come back as the other of the two equal quaternions.
    again[:, quaternion] *= np.sign((again[:, quaternion] * actions[:, quaternion]).sum(axis=1))[:, None]
    np.testing.assert_allclose(again, actions, atol=1e-9)
    np.testing.assert_allclose(universal[:, 29], 1 - actions[:, 0] / 255)


def test_channels_the_robot_lacks_are_ignored():
    universal = np.zeros((1, 30))
    universal[:, ~ALOHA.channel_mask] = 7.0
    np.testing.assert_array_equal(ALOHA.from_universal(universal), np.zeros((1, 14)))


def test_relative_robots_need_the_first_pose():
    embodiment, actions = pose_robot("relative"), pose_actions(3)
    with pytest.raises(InputError, match=r"initial pose of 'robot'; got: none.*pass the pose"):
        embodiment.to_universal(actions)
    with pytest.raises(InputError, match="initial pose"):
        embodiment.from_universal(np.ones((3, 30)))
    with pytest.raises(InputError, match=r"initial pose.*nan at step 0 of 'dof9'"):
        embodiment.to_universal(actions, np.array([*actions[0, :9], np.nan]))


def test_other_robots_do_not_look_at_it():
    actions = np.ones((2, 14))
    np.testing.assert_array_equal(ALOHA.to_universal(actions, np.full(14, np.nan)), ALOHA.to_universal(actions))


def test_bad_actions_are_named():
    actions = np.zeros((5, 14))
    ALOHA.check_actions(actions)
    actions[3, 8] = np.nan
    for check in (ALOHA.check_actions, ALOHA.to_universal):
        with pytest.raises(InputError, match="actions of 'aloha'; got: nan at step 3 of 'right_shoulder'"):
            check(actions)
    with pytest.raises(InputError, match=r"float64 \[5, 13\].*left_waist"):
        ALOHA.check_actions(actions[:, :13])
    with pytest.raises(InputError, match="universal actions; got: inf at step 0 of 'left_joint2'"):
        ALOHA.from_universal(np.where(np.arange(30) == 16, np.inf, 0.0)[None])


def test_hold_action_of_absolute_joints_is_the_state():
    state = np.linspace(-1, 1, 14, dtype=np.float32)
    state[6], state[13] = 0.3, 1.1
    held = ALOHA.hold_action(state)
    assert held.dtype == np.float32
    np.testing.assert_array_equal(held[:13], state[:13])
    assert held[13] == 1.0


def test_hold_action_refuses_another_state():
    with pytest.raises(InputError, match=r"state of 'libero_panda'.*left_finger"):
        PANDA.hold_action(np.zeros(7))
    with pytest.raises(InputError, match="nan at step 0 of 'left_gripper'"):
        ALOHA.hold_action(np.where(np.arange(14) == 6, np.nan, 0.0))


def test_clipping_to_the_limits():
    clipped = ALOHA.clip_actions(np.full((2, 14), 9.0, dtype=np.float32))
    assert clipped.dtype == np.float32
    np.testing.assert_allclose(clipped[0, :7], [3.14158, 1.25664, 1.6057, 3.14158, 2.23402, 3.14158, 1.0])
    unbounded = pose_robot("delta")
    np.testing.assert_array_equal(unbounded.clip_actions(np.full((1, 10), 1e9)), 1e9)


def test_masks_and_limits_cannot_be_changed_by_accident():
    for array in (ALOHA.channel_mask, *ALOHA.limits):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = True


@pytest.mark.parametrize("embodiment", [ALOHA, PANDA, LIBERO, ROBOTWIN, pose_robot("relative")], ids=lambda e: e.name)
def test_json_round_trip(embodiment):
    assert Embodiment.from_dict(json.loads(json.dumps(embodiment.to_dict()))) == embodiment


JOINT = {"side": "left", "space": "joint", "representation": "absolute"}


@pytest.mark.parametrize(
    ("arms", "num_dofs", "message"),
    [
        (
            [Arm(**JOINT, entries=(0, 1))],
            3,
            r"arms of 'robot'; got: \[0, 1\]; allowed: each of 0 to 2",
        ),
        ([Arm(**JOINT, entries=(0, 0))], 1, r"got: \[0, 0\]"),
        ([Arm(**JOINT, entries=(0, 5))], 2, r"got: \[0, 5\]"),
        ([Arm(**JOINT, entries=(0,)), Arm(**JOINT, entries=(1,))], 2, "at most one on each side"),
        ([Arm(**JOINT, entries=(0,), gripper=Gripper(entry=0, open=1.0, closed=0.0))], 1, r"got: \[0, 0\]"),
        (
            [Arm(**JOINT, entries=(0,), gripper=Gripper(entry=1, open=1.0, closed=0.0, state_entry=2))],
            2,
            r"state entries of the left arm of 'robot'; got: \[2\].*state_names",
        ),
    ],
)
def test_arms_that_do_not_fit_the_robot(arms, num_dofs, message):
    with pytest.raises(ConfigurationError, match=message):
        robot(*arms, num_dofs=num_dofs)


def test_dofs_must_be_different_and_their_limits_in_order():
    with pytest.raises(ConfigurationError, match="dofs of 'aloha'"):
        dataclasses.replace(ALOHA, dofs=())
    with pytest.raises(ConfigurationError, match="dofs of 'aloha'"):
        dataclasses.replace(ALOHA, dofs=(Dof(name="a"),) * 14)
    with pytest.raises(ConfigurationError, match=r"limits of 'a'; got: 1.0 to 0.0"):
        Dof(name="a", low=1.0, high=0.0)


def test_unknown_robots_list_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'alhoa'.*aloha, libero_panda.*did you mean 'aloha'"):
        load_embodiment("alhoa")


def test_files_that_are_no_robot(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere.toml.*No such file"):
        load_embodiment(tmp_path / "nowhere.toml")
    path = tmp_path / "broken.toml"
    path.write_text("name = ")
    with pytest.raises(ConfigurationError, match=r"broken.toml.*TOML text"):
        load_embodiment(path)
    path.write_text('name = "half"')
    with pytest.raises(ConfigurationError, match=r"embodiment lacks settings.*add description, dofs"):
        load_embodiment(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "setting of embodiment.*'colour'"),
        ({"arms": 2}, "arms; got: 2"),
        ({"dofs": ["a"]}, "settings of dof; got: 'a'"),
        ({"layout": "t_shape"}, "settings of camera layout; got: 't_shape'"),
        ({"name": 3}, "setting name of embodiment; got: 3"),
    ],
)
def test_files_with_mistakes(change, message):
    with pytest.raises(ConfigurationError, match=message):
        Embodiment.from_dict({**ALOHA.to_dict(), **change})


@pytest.mark.parametrize("name", ["velocity", "acceleration"])
@pytest.mark.parametrize("wrong", [0.0, -1.0, float("inf"), float("nan")])
def test_velocities_and_accelerations_are_above_zero(name: str, wrong: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} of 'joint'"):
        Dof(name="joint", **{name: wrong})


def test_robots_say_their_limits_or_that_they_do_not() -> None:
    assert ALOHA.unlimited_dofs == PANDA.unlimited_dofs == ()
    assert {dof.velocity for dof in ALOHA.dofs} == {3.14159, 5.0}
    assert LIBERO.unlimited_dofs == LIBERO.dof_names  # raw numbers: nobody knows whether they are positions
    assert ROBOTWIN.unlimited_dofs == ROBOTWIN.dof_names
    slower = dataclasses.replace(ALOHA.dofs[0], velocity=None)
    assert dataclasses.replace(ALOHA, dofs=(slower, *ALOHA.dofs[1:])).unlimited_dofs == ("left_waist",)
