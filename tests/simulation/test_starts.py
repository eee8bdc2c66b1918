"""What is random at the start."""

import numpy as np
import pytest

from foreact.simulation import scene
from foreact.simulation.starts import CUBE_AREA_M, CUBE_DISTANCE_M, FIRST_FLASH_STEP, FLASH_STEPS, draw_start
from foreact.simulation.tasks import LONGEST_DELAY_STEPS, get_task


def starts(task: str, num: int = 300):
    return [draw_start(get_task(task), np.random.default_rng(seed)) for seed in range(num)]


def test_cubes_fill_their_area_and_keep_apart():
    drawn = starts("remember_bin_two")
    spots = np.array([[start.cubes[cube][:2] for cube in ("white", "purple")] for start in drawn])
    for axis, (low, high) in enumerate(CUBE_AREA_M):
        span = spots[..., axis]
        assert low <= span.min() < low + 0.02 and high - 0.02 < span.max() <= high
    assert np.linalg.norm(spots[:, 0] - spots[:, 1], axis=1).min() > CUBE_DISTANCE_M


def test_equal_seeds_draw_equal_starts():
    first, second = starts("remember_bin", 5), starts("remember_bin", 5)
    for a, b in zip(first, second, strict=True):
        assert (a.cubes, a.bins, a.go_step) == (b.cubes, b.bins, b.go_step)
        assert np.array_equal(a.pose, b.pose)
    assert len({a.cubes["white"] for a in first}) == 5


def test_bins_are_drawn_evenly_and_differ_from_each_other():
    drawn = starts("remember_bin_two")
    firsts = [start.bins[0] for start in drawn]
    assert all(70 < firsts.count(colour) < 130 for colour in scene.BIN_COLOURS)
    assert all(start.bins[0] != start.bins[1] for start in drawn)


def test_the_delay_is_random_so_no_clock_replaces_memory():
    go_steps = np.array([start.go_step for start in starts("remember_bin")])
    darkness = go_steps - FIRST_FLASH_STEP - FLASH_STEPS
    assert 15 <= darkness.min() < 50 and 700 < darkness.max() <= LONGEST_DELAY_STEPS
    assert darkness.std() > 150
    by_colour = {c: [s.go_step for s in starts("remember_bin") if s.bins == (c,)] for c in scene.BIN_COLOURS}
    assert np.ptp([np.mean(steps) for steps in by_colour.values()]) < 100  # and tells nothing of the colour


def test_the_lamp_flashes_goes_dark_and_turns_yellow():
    start = starts("remember_bin_two", 1)[0]
    colours = [start.lamp_colour(step) for step in range(start.go_step + 50)]
    flashes = [scene.BIN_COLOURS[colour] for colour in start.bins]
    assert [colours.count(flash) for flash in flashes] == [FLASH_STEPS, FLASH_STEPS]
    assert colours.index(flashes[0]) < colours.index(flashes[1])
    assert colours[start.go_step - 1] == scene.LAMP_DARK
    assert set(colours[start.go_step :]) == {scene.LAMP_GO}


@pytest.mark.parametrize("task", ["reach_cube", "lift_cube", "transfer_cube"])
def test_other_tasks_have_no_light(task):
    start = starts(task, 1)[0]
    assert {start.lamp_colour(step) for step in range(300)} == {scene.LAMP_DARK}
