"""An episode that one can play with."""

from dataclasses import replace

import numpy as np
import pytest

import foreact
from foreact.errors import ConfigurationError
from foreact.simulation.world import World
from foreact.viewing.page import enlarged, first_episode, playable_tasks, side_by_side, status_of
from foreact.viewing.player import Episode, Player
from foreact.viewing.scene import body_names, box, cylinder, visible_shapes

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def policy():
    return foreact.load("tiny-disturbed")


@pytest.fixture
def player(policy, one_thread):
    player = Player(policy, Episode(task="lift_cube", seed=5_000_003), speed=0.0)
    yield player
    player.close()


def test_it_begins_paused_and_plays_one_chunk(player, policy) -> None:
    before = player.shown
    assert (before.state, before.num_steps, before.imagined) == ("paused", 0, None)
    player.play_chunk()
    assert player.wait_until_paused()
    after = player.shown
    assert (after.state, after.num_steps) == ("paused", policy.actions_per_chunk)
    assert after.imagined is not None and after.film is not None and after.chunk_ms > 0
    assert not np.array_equal(before.positions_m, after.positions_m), "the arms moved"
    player.play_chunk()
    assert player.wait_until_paused()
    assert len(player.shown.disagreements) == 1, "what was imagined has been seen"


def test_the_same_start_gives_the_same_episode(player) -> None:
    player.play_chunk()
    player.wait_until_paused()
    first = player.shown
    player.begin(first.episode)
    player.play_chunk()
    player.wait_until_paused()
    assert np.array_equal(first.positions_m, player.shown.positions_m)


def test_the_cube_can_be_pushed_while_it_plays(player) -> None:
    player.move_cube(0.02, 0.06)
    player.settle()
    cube = player.world.model.body("cube_white").id
    np.testing.assert_allclose(player.shown.positions_m[cube][:2], (0.02, 0.06), atol=1e-6)
    player.play()
    player.pause()
    player.settle()
    assert player.shown.state == "paused"


def test_open_loop_never_looks_and_so_is_never_surprised(policy, one_thread) -> None:
    player = Player(policy, Episode(loop="open loop", seed=5_000_003), speed=0.0)
    for _ in range(2):
        player.play_chunk()
        assert player.wait_until_paused()
    assert player.shown.num_steps == 2 * policy.actions_per_chunk and player.shown.disagreements == ()
    player.close()


def test_an_episode_ends_and_begins_anew_when_it_is_played_on(policy, one_thread) -> None:
    player = Player(policy, Episode(task="reach_cube", seed=5_000_000), speed=0.0)
    player.play()
    assert player.wait_until_paused()
    assert player.shown.state in ("succeeded", "time is up")
    player.play_chunk()
    player.wait_until_paused()
    assert player.shown.num_steps == policy.actions_per_chunk
    player.close()


def test_commands_keep_real_time_or_are_counted(policy, one_thread) -> None:
    player = Player(policy, Episode(seed=5_000_003), speed=200.0)
    player.play_chunk()
    player.wait_until_paused()
    assert 0 < player.shown.num_late <= player.shown.num_steps, "no machine steps ten thousand times a second"
    player.close()


def test_another_robots_policy_and_an_unknown_task_are_refused(tiny, policy) -> None:
    with pytest.raises(ConfigurationError, match="one that drives 'toy'"):
        Player(tiny.policy())
    with pytest.raises(Exception, match="unknown task"):
        Player(policy, Episode(task="make_tea"))


def test_shapes_are_those_of_the_model_and_surround_their_bodies() -> None:
    world = World(1)
    names, shapes = body_names(world), list(visible_shapes(world))
    assert len(set(names)) == world.model.nbody
    assert {shape.body for shape in shapes} >= {"cube_white", "bin_red", "lamp"} and len(shapes) > 30
    cube = next(shape for shape in shapes if shape.body == "cube_white")
    np.testing.assert_allclose(np.ptp(cube.vertices_m, axis=0), 0.04)
    for shape in shapes:
        assert shape.faces.max() < len(shape.vertices_m) and shape.faces.min() >= 0


@pytest.mark.parametrize("mesh", [box(np.array([0.1, 0.2, 0.3])), cylinder(0.1, 0.2)])
def test_faces_look_outwards(mesh: tuple[np.ndarray, np.ndarray]) -> None:
    vertices, faces = mesh
    first, second, third = (vertices[faces[:, corner]] for corner in range(3))
    normals = np.cross(second - first, third - first)
    assert (np.einsum("ij,ij->i", normals, (first + second + third) / 3) > 0).all()


def test_what_the_page_says(player, policy) -> None:
    shown = player.shown
    assert side_by_side(shown).shape == (256, 520, 3)
    assert enlarged(np.zeros((64, 64, 3), np.uint8)).shape == (256, 256, 3)
    assert status_of(replace(shown, state="computing", num_steps=100, stage="grasp")).startswith("**thinking** · 2.0 s")
    assert "3 of 100 commands late" in status_of(replace(shown, num_steps=100, num_late=3))
    assert playable_tasks(policy.instructions) == ("reach_cube", "lift_cube")
    assert len(playable_tasks(())) > 2
    assert first_episode(("reach_cube",), seed=3) == Episode(task="reach_cube", seed=3)
