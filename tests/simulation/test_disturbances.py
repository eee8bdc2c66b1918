"""What goes wrong: drawn from the seed, only where the world allows it, and written down."""

import numpy as np
import pytest

from foreact.errors import ConfigurationError
from foreact.simulation import scene
from foreact.simulation.disturbances import KINDS, MOVE_STEPS, Disturbance
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.experts import make_expert
from foreact.simulation.starts import CUBE_AREA_M


def _stand(env, num_steps):
    """Let the robot stand still; return where the cube was after every control step."""
    still, places = env.state(), []
    for _ in range(num_steps):
        env.step(still)
        places.append(env.world.cube_position("white"))
    return np.stack(places)


def _lift(env, seed, num_steps):
    env.reset(seed=seed)
    expert = make_expert(env)
    for _ in range(num_steps):
        env.step(expert.act())
        yield env


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "earthquake"}, "none, mild, strong, nudge"),
        ({"name": "strong", "kinds": ("wind",)}, "wind"),
        ({"name": "nudge", "nudge_cm": 0.0}, "nudge_cm"),
        ({"name": "nudge", "nudge_cm": 50.0}, "at most 20"),
    ],
)
def test_a_disturbance_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Disturbance(**settings)


def test_says_in_a_few_words_what_it_is():
    assert Disturbance(name="nudge", nudge_cm=5.0).describe() == "nudge 5 cm"
    assert Disturbance(name="strong", kinds=("slip",)).describe() == "strong (slip)"
    assert Disturbance().describe() == "none" and Disturbance().active_kinds == ()


def test_nothing_happens_unless_asked_for():
    env = BimanualEnv("lift_cube")
    env.reset(seed=1)
    places = _stand(env, 120)
    assert not env.events and np.ptp(places[20:], axis=0).max() < 1e-4


def test_a_nudge_moves_the_cube_as_far_as_asked_over_a_few_frames_and_never_out_of_reach():
    env = BimanualEnv("lift_cube", disturbance=Disturbance(name="nudge", nudge_cm=4.0))
    for seed in range(5):
        env.reset(seed=seed)
        places = _stand(env, 70)
        (event,) = env.events
        moved = np.linalg.norm(places[-1] - places[event.step - 1])
        assert event.kind == "nudge" and abs(moved - 0.04) < 0.003
        per_step = np.linalg.norm(np.diff(places, axis=0), axis=1)
        assert (per_step > 1e-3).sum() <= MOVE_STEPS and per_step.max() < 0.015
        for value, (low, high) in zip(places[-1], CUBE_AREA_M, strict=False):
            assert low - 1e-3 < value < high + 1e-3


def test_the_same_seed_is_disturbed_in_the_same_way_and_starts_as_it_would_undisturbed():
    plain, env = BimanualEnv("lift_cube"), BimanualEnv("lift_cube", disturbance="strong")
    plain.reset(seed=7)
    runs = []
    for _ in range(2):
        env.reset(seed=7)
        assert np.array_equal(plain.state(), env.state())
        assert np.array_equal(plain.world.cube_position("white"), env.world.cube_position("white"))
        places = _stand(env, 100)
        runs.append((places, env.events))
    assert np.array_equal(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]


def test_a_held_cube_is_never_moved_by_hand():
    env = BimanualEnv("lift_cube", disturbance=Disturbance(name="strong", kinds=("nudge",)))
    for seed in range(4):
        for _ in _lift(env, seed, 200):
            started = {event.step for event in env.events}
            assert env.num_steps - 1 not in started or not env.world.holds("right", "white")


def test_a_slip_lets_the_held_cube_fall_once_though_the_gripper_stays_closed():
    env = BimanualEnv("lift_cube", disturbance="slip")
    heights = [env.world.cube_height("white") for env in _lift(env, 3, 320)]
    (event,) = env.events
    assert event.kind == "slip" and env.succeeded
    assert heights[event.step] > 0.02 and min(heights[event.step : event.step + 60]) < 0.01
    assert heights[-1] > 0.08  # the expert took it again


def test_a_push_moves_the_arm_and_it_comes_back():
    env = BimanualEnv("lift_cube", disturbance="push")
    env.reset(seed=2)
    still, tips = env.state(), []
    for _ in range(120):
        env.step(still)
        tips.append({side: env.world.tip_position(side) for side in scene.SIDES})
    (event,) = env.events
    away = [np.linalg.norm(tip[event.what] - tips[event.step - 1][event.what]) for tip in tips]
    assert max(away) > 0.004 and away[-1] < 0.003


def test_a_moved_bin_stays_where_it_was_put_and_is_where_things_are_judged():
    env = BimanualEnv("point_at_bin", disturbance="bin")
    env.reset(seed=4)
    before = {colour: env.world.bin_position(colour) for colour in scene.BIN_CENTRES_M}
    _stand(env, env.start.go_step + 70)
    (event,) = env.events
    after = env.world.bin_position(event.what)
    assert abs(np.linalg.norm(after - before[event.what]) - 0.05) < 1e-6
    positions = env.world.positions()
    env.reset(seed=4)
    assert np.array_equal(env.world.bin_position(event.what), before[event.what])
    env.recall(positions, 0)
    assert np.allclose(env.world.bin_position(event.what), after)


@pytest.mark.sim
def test_pictures_differ_in_light_and_place_but_the_world_does_not():
    plain, env = (
        BimanualEnv("reach_cube", cameras=("top",), image_size=64, disturbance=d) for d in ("none", "pictures")
    )
    plain.reset(seed=5)
    env.reset(seed=5)
    assert np.array_equal(plain.world.positions(), env.world.positions())
    usual, seen = plain.images()["top"].astype(float), env.images()["top"].astype(float)
    assert 0.7 < seen.mean() / usual.mean() < 1.3 and np.abs(seen - usual).max() > 10
    env.reset(seed=6)
    env.reset(seed=5)
    assert np.array_equal(env.images()["top"], seen.astype(np.uint8))
    plain.close()
    env.close()


def test_every_kind_can_be_named_by_itself_and_then_happens():
    happened = set()
    for kind in KINDS:
        env = BimanualEnv("lift_cube", disturbance=kind)
        for _ in _lift(env, 11, 200):
            pass
        happened |= {event.kind for event in env.events}
    assert happened == set(KINDS) - {"pictures"}
