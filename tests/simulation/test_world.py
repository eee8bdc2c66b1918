"""Addresses and questions of the world."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foreact.simulation import scene


def test_places_arms_as_an_action_says(world, rest_action):
    assert np.allclose(world.measured(), rest_action, atol=1e-6)


def test_an_action_held_is_reached(world, rest_action):
    goal = rest_action + np.array([0.2, 0.1, -0.1, 0.2, 0.1, -0.2, 0.9] * 2)
    world.aim(goal)
    for _ in range(100):
        world.advance()
    assert np.allclose(world.measured(), goal, atol=0.01)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(opening=st.floats(-1, 2))
def test_openings_are_clipped_and_fingers_mirror(world, opening, rest_action):
    action = rest_action.copy()
    action[[6, 13]] = opening
    world.aim(action)
    left, right = world.data.ctrl[[6, 7]]
    assert left == -right
    assert scene.FINGER_CLOSED_M <= left <= scene.FINGER_OPEN_M + 1e-12


def test_cubes_lie_on_the_table_where_they_were_put(world, rest_action):
    world.aim(rest_action)
    for _ in range(100):
        world.advance()
    assert np.allclose(world.cube_position("white"), (0.15, 0.5, scene.CUBE_HALF_M), atol=5e-4)
    assert world.cube_yaw("white") == pytest.approx(0.1, abs=1e-3)
    assert abs(world.cube_height("white")) < 5e-4
    assert world.touching("white") == {"table"}


def test_gravity_does_not_move_the_arms(world, rest_action):
    world.aim(rest_action)
    for _ in range(50):
        world.advance()
    assert np.allclose(world.measured(), rest_action, atol=1e-3)


@pytest.mark.parametrize("side", scene.SIDES)
def test_a_closed_gripper_holds_a_cube_alone(world, side, put_cube, rest_action):
    world.aim(np.where(np.isin(np.arange(14), (6, 13)), 1.0, rest_action))
    for _ in range(50):
        world.advance()
    put_cube(world, "white", world.tip_position(side))
    assert not world.holds(side, "white")
    world.aim(np.where(np.isin(np.arange(14), (6, 13)), 0.0, rest_action))
    gravity, world.model.opt.gravity[:] = world.model.opt.gravity.copy(), 0
    for _ in range(25):
        world.advance()
    world.model.opt.gravity[:] = gravity
    for _ in range(25):
        world.advance()
    other = next(name for name in scene.SIDES if name != side)
    assert world.holds_alone(side, "white")
    assert not world.holds(other, "white")
    assert world.cube_height("white") > 0.05


def test_a_cube_in_a_bin_lies_in_that_bin_only(world, put_cube):
    x, y = scene.BIN_CENTRES_M["green"]
    put_cube(world, "purple", (x, y, scene.CUBE_HALF_M + 0.004))
    assert world.lies_in_bin("purple", "green")
    assert not world.lies_in_bin("purple", "red")
    assert not world.lies_in_bin("white", "green")


def test_a_cube_above_a_bin_is_not_in_it(world, put_cube):
    x, y = scene.BIN_CENTRES_M["green"]
    put_cube(world, "purple", (x, y, 0.15))
    assert world.is_above_bin("purple", "green")
    assert not world.lies_in_bin("purple", "green")


def test_lamp_takes_a_colour(world):
    world.light((0.1, 0.2, 0.3, 1.0))
    assert np.allclose(world.model.geom("lamp").rgba, (0.1, 0.2, 0.3, 1.0))
