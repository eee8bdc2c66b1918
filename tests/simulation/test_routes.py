"""Ways through waypoints."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foreact.simulation.kinematics import Pose, pitched_down
from foreact.simulation.routes import Route, Waypoint


def route() -> Route:
    pose = Pose(position=np.zeros(3), rotation=np.eye(3))
    start = Waypoint(step=10, pose=pose, opening=0.0, slack=0.0)
    return Route(start).go(20, (0.2, 0, 0), pitched_down(0.5, 0.5), 1.0).go(10, opening=0.0, slack=0.2)


def test_passes_its_waypoints_and_stays_at_the_end():
    way = route()
    assert np.allclose(way.at(10).pose.position, 0)
    assert np.allclose(way.at(30).pose.position, (0.2, 0, 0))
    assert np.allclose(way.at(30).pose.rotation, pitched_down(0.5, 0.5))
    assert (way.at(30).opening, way.at(40).opening, way.at(400).opening) == (1.0, 0.0, 0.0)
    assert way.at(0).opening == 0.0
    assert way.at(999).slack == 0.2


def test_what_is_not_given_stays():
    way = route()
    assert np.array_equal(way.at(35).pose.position, way.at(30).pose.position)


@given(st.integers(0, 60))
def test_moves_in_small_steps_of_proper_rotations(step):
    before, after = route().at(step), route().at(step + 1)
    assert np.linalg.norm(after.pose.position - before.pose.position) <= 0.2 * 1.5 / 20 + 1e-9
    assert np.allclose(after.pose.rotation.T @ after.pose.rotation, np.eye(3), atol=1e-6)
    assert 0 <= after.opening <= 1


def test_waits_only_for_what_is_still_to_come():
    way = route()
    assert way.wait_until(25).last.step == 40
    assert way.wait_until(55).last.step == 55
    assert way.last.slack == 0.0
