"""Conditions, one by one, in worlds made for them."""

import pytest

from foreact.errors import ConfigurationError
from foreact.simulation import scene
from foreact.simulation.stages import Stage, all_in_bins, held, held_alone, held_by_both, in_bin, raised, tip_within


def test_a_stage_lasts_at_least_one_step():
    with pytest.raises(ConfigurationError, match="num_steps"):
        Stage(name="s", condition=held("right"), num_steps=0)


def test_the_tip_is_near_what_is_put_there(world, put_cube):
    assert not tip_within("right", 0.03)(world, ())
    x, y, z = world.tip_position("right")
    put_cube(world, "white", (x, y, z - 0.02))
    assert tip_within("right", 0.03)(world, ())
    assert not tip_within("right", 0.019)(world, ())
    assert not tip_within("left", 0.03)(world, ())


def test_nothing_is_held_on_the_table(world):
    for condition in (held("right"), raised("right"), held_alone("left"), held_by_both()):
        assert not condition(world, ())


def test_each_cube_has_the_bin_of_its_index(world, put_cube):
    for cube, colour in (("white", "blue"), ("purple", "red")):
        put_cube(world, cube, (*scene.BIN_CENTRES_M[colour], scene.CUBE_HALF_M + 0.004))
    both = ("white", "purple")
    assert in_bin(0, "white")(world, ("blue", "red"))
    assert all_in_bins(both)(world, ("blue", "red"))
    assert not all_in_bins(both)(world, ("red", "blue"))
    assert not all_in_bins(both)(world, ("blue", "green"))
