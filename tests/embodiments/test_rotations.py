import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from foreact.embodiments.rotations import (
    decode_rotation,
    encode_rotation,
    identity,
    nearest_sign,
    num_numbers,
)
from foreact.errors import InputError

FORMATS = ("quaternion_xyzw", "quaternion_wxyz", "axis_angle", "euler_xyz")
QUARTER_TURN_ABOUT_Z = {
    "quaternion_xyzw": [0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)],
    "quaternion_wxyz": [np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)],
    "axis_angle": [0.0, 0.0, np.pi / 2],
    "euler_xyz": [0.0, 0.0, np.pi / 2],
}


@pytest.mark.parametrize("rotation_format", FORMATS)
def test_a_quarter_turn_about_z(rotation_format):
    numbers = np.array([QUARTER_TURN_ABOUT_Z[rotation_format]])
    rotation = decode_rotation(numbers, rotation_format, "arm")
    np.testing.assert_allclose(rotation.apply([1.0, 0.0, 0.0]), [[0.0, 1.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(encode_rotation(rotation, rotation_format), numbers, atol=1e-12)


def test_euler_angles_turn_about_fixed_axes_x_first():
    rotation = decode_rotation(np.array([[np.pi / 2, 0.0, np.pi / 2]]), "euler_xyz", "arm")
    np.testing.assert_allclose(rotation.apply([0.0, 1.0, 0.0]), [[0.0, 0.0, 1.0]], atol=1e-12)
    np.testing.assert_allclose(rotation.apply([1.0, 0.0, 0.0]), [[0.0, 1.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize("rotation_format", FORMATS)
def test_identity_does_nothing(rotation_format):
    numbers = np.array([identity(rotation_format)])
    assert numbers.shape == (1, num_numbers(rotation_format))
    assert decode_rotation(numbers, rotation_format, "arm").magnitude()[0] == 0.0


@settings(deadline=None, max_examples=40)
@given(
    rotation_format=st.sampled_from(FORMATS),
    rotvec=st.tuples(*[st.floats(-1.7, 1.7)] * 3),
)
def test_round_trip_of_the_numbers(rotation_format, rotvec):
    rotation = Rotation.from_rotvec([rotvec])
    assume(abs(rotation.as_matrix()[0, 2, 0]) < 0.999)  # Euler angles lock when the pitch is 90 degrees
    numbers = encode_rotation(rotation, rotation_format)
    again = encode_rotation(decode_rotation(numbers, rotation_format, "arm"), rotation_format)
    np.testing.assert_allclose(again, numbers, atol=1e-9)


def test_quaternions_of_any_length_are_accepted_but_zero():
    long = decode_rotation(np.array([[0.0, 0.0, 3.0, 3.0]]), "quaternion_xyzw", "arm")
    np.testing.assert_allclose(long.as_rotvec(), [[0.0, 0.0, np.pi / 2]])
    with pytest.raises(InputError, match="quaternion of the left arm at step 1"):
        decode_rotation(np.array([[0.0, 0, 0, 1], [0, 0, 0, 0]]), "quaternion_wxyz", "the left arm")


def test_nearest_sign_keeps_the_rotation_and_picks_the_reference_side():
    quaternions = np.array([[0.0, 0.0, 0.6, 0.8], [0.0, 0.0, -0.6, -0.8], [0.6, 0.0, 0.0, -0.8]])
    np.testing.assert_array_equal(
        nearest_sign(quaternions, (0.0, 0.0, 0.0, 1.0)),
        [[0.0, 0.0, 0.6, 0.8], [0.0, 0.0, 0.6, 0.8], [-0.6, 0.0, 0.0, 0.8]],
    )
    np.testing.assert_array_equal(nearest_sign(quaternions, (1.0, 0.0, 0.0, 0.0))[2], quaternions[2])
