import numpy as np
import pytest

from foreact.embodiments.actions import (
    CHANNEL_NAMES,
    END_EFFECTOR,
    GRIPPER,
    JOINTS,
    NUM_CHANNELS,
    check_finite,
)
from foreact.errors import InputError


def test_the_groups_tile_the_thirty_channels_in_the_agreed_order():
    groups = [END_EFFECTOR["left"], END_EFFECTOR["right"], JOINTS["left"], JOINTS["right"]]
    channels = [channel for group in groups for channel in range(group.start, group.stop)]
    assert [*channels, GRIPPER["left"], GRIPPER["right"]] == list(range(NUM_CHANNELS))


def test_channel_names_say_their_group():
    assert len(set(CHANNEL_NAMES)) == NUM_CHANNELS
    assert CHANNEL_NAMES[END_EFFECTOR["right"]][:4] == ("right_x", "right_y", "right_z", "right_qx")
    assert CHANNEL_NAMES[END_EFFECTOR["left"]][-1] == "left_qw"
    assert CHANNEL_NAMES[JOINTS["left"]][0] == "left_joint0"
    assert CHANNEL_NAMES[GRIPPER["right"]] == "right_gripper"


def test_good_values_come_back_as_float64():
    values = np.arange(6).reshape(3, 2)
    checked = check_finite("numbers", values, ("a", "b"))
    assert checked.dtype == np.float64
    np.testing.assert_array_equal(checked, values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_column_and_step_of_a_bad_number_are_named(bad):
    values = np.zeros((4, 2))
    values[2, 1] = bad
    with pytest.raises(InputError, match=f"numbers; got: {bad} at step 2 of 'b'"):
        check_finite("numbers", values, ("a", "b"))


@pytest.mark.parametrize("values", [np.zeros(2), np.zeros((4, 3)), np.zeros((1, 4, 2)), np.array([["x", "y"]])])
def test_other_shapes_and_types_are_refused(values):
    with pytest.raises(InputError, match=r"numbers \[time, 2\]: a, b"):
        check_finite("numbers", values, ("a", "b"))
