"""Forward and inverse kinematics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from foreact.simulation import scene
from foreact.simulation.kinematics import ArmKinematics, Pose, facing, pitched_down, rotation_vector, turned

vectors = arrays(float, 3, elements=st.floats(-1.7, 1.7))


@pytest.fixture(scope="module", params=scene.SIDES)
def arm(request):
    return ArmKinematics(scene.load_model(1), request.param)


@settings(max_examples=25, deadline=None)
@given(offset=arrays(float, 6, elements=st.floats(-0.25, 0.25)))
def test_a_reachable_pose_is_reached(arm, offset):
    rest = np.array(scene.REST_POSE)
    goal = arm.pose(np.clip(rest + offset, -1.5, 1.5))
    found = arm.pose(arm.solve(rest, goal, num_iterations=100))
    assert np.allclose(found.position, goal.position, atol=1e-3)
    assert np.linalg.norm(rotation_vector(found.rotation, goal.rotation)) < 5e-3


def test_a_pose_out_of_reach_is_approached_within_the_limits(arm):
    rest = arm.pose(np.array(scene.REST_POSE))
    goal = Pose(position=rest.position + np.array([0, 0, 5.0]), rotation=rest.rotation)
    angles = arm.solve(np.array(scene.REST_POSE), goal, num_iterations=50)
    assert np.isfinite(angles).all()
    assert arm.pose(angles).position[2] > rest.position[2]
    assert -1.86 <= angles[1] <= 1.26 and -1.77 <= angles[2] <= 1.61


def test_where_it_is_already_it_stays(arm):
    rest = np.array(scene.REST_POSE)
    assert np.array_equal(arm.solve(rest, arm.pose(rest)), rest)


@given(vectors)
def test_turning_agrees_with_scipy_and_is_undone_by_its_vector(vector):
    start = pitched_down(0.3, 0.7)
    end = turned(start, vector)
    assert np.allclose(end, Rotation.from_rotvec(vector).as_matrix() @ start, atol=1e-9)
    assert np.allclose(rotation_vector(start, end), vector, atol=1e-6)


@given(heading=st.floats(-3, 3), pitch=st.floats(-1.4, 1.4))
def test_pitched_grippers_point_where_they_should_with_level_fingers(heading, pitch):
    rotation = pitched_down(heading, pitch)
    assert np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert rotation[2, 0] == pytest.approx(-np.sin(pitch))
    assert rotation[2, 1] == pytest.approx(0, abs=1e-9)
    assert np.arctan2(rotation[1, 0], rotation[0, 0]) == pytest.approx(heading)


def test_facing_makes_fingers_square_to_the_way():
    assert np.allclose(facing((2, 0, 0), (5, 0, 1)), [[1, 0, 0], [0, 0, -1], [0, 1, 0]])
