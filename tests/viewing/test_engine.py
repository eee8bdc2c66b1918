"""Episodes that are steered while they run, with the shipped policies, in real time."""

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import foreact
from foreact.errors import ConfigurationError, InputError
from foreact.viewing.choices import PlayChoices
from foreact.viewing.engine import PlayEngine
from foreact.viewing.episode import Snapshot

pytestmark = pytest.mark.sim
PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def policies():
    loaded = {name: foreact.load(name) for name in ("tiny-disturbed", "tiny-reactive")}
    return loaded.__getitem__


def until(engine: PlayEngine, reached: Callable[[Snapshot], bool]) -> Snapshot:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        snapshot = engine.snapshot()
        if reached(snapshot):
            return snapshot
        assert snapshot.phase != "failed", snapshot.problem
        time.sleep(0.05)
    raise AssertionError(f"still {snapshot.phase} at step {snapshot.poses and snapshot.poses.step}")


def cube_of(engine: PlayEngine, snapshot: Snapshot) -> np.ndarray:
    body = engine._env[1].world.model.body("cube_white").id
    return snapshot.poses.positions[body]


def test_an_episode_is_shown_paused_and_begun_anew(policies) -> None:
    with PlayEngine(policies, PlayChoices(task="lift_cube"), urgent=False) as engine:
        engine.set_speed(0.5)
        first = until(engine, lambda s: s.num_chunks >= 1 and len(s.errors) > 3)
        assert first.attention is None  # nobody watches
        assert first.phase == "running" and first.number == 1
        assert first.seen.shape == first.imagined.shape == (64, 64, 3)
        assert first.film.shape == (8, 64, 64, 3)
        assert all(0 < error < 1 for _, error in first.errors)
        assert first.computing and all(end > begin for begin, end in first.computing)
        start = engine._episode.robot.pictures[0]["top"].copy()

        engine.pause()
        assert engine.snapshot().phase == "paused"
        time.sleep(1.0)  # a step that was being made is finished
        paused = engine.snapshot()
        time.sleep(0.3)
        assert engine.snapshot().poses.step == paused.poses.step

        engine.watch_attention(True)
        engine.next_chunk()
        later = until(engine, lambda s: s.num_chunks > paused.num_chunks and s.phase == "paused")
        assert later.num_chunks == paused.num_chunks + 1
        found = until(engine, lambda s: s.attention is not None or engine.next_chunk()).attention
        assert found.shape[1] == 400 and found.std() > 10

        engine.restart(paused=True)
        again = until(engine, lambda s: s.number == 2)
        assert again.choices == first.choices
        engine.resume()
        until(engine, lambda s: s.num_chunks >= 1)
        assert np.array_equal(engine._episode.robot.pictures[0]["top"], start)


def test_a_cube_is_moved_by_hand_and_a_film_of_it_is_written(policies, tmp_path) -> None:
    choices = PlayChoices(task="reach_cube", controller="open_loop")
    with PlayEngine(policies, choices, urgent=False) as engine:
        before = until(engine, lambda s: s.poses is not None)
        with pytest.raises(InputError, match="cube to move; got: 'green'; allowed: white"):
            engine.move_cube("green", (0.1, 0.5))
        target = np.array([0.2, 0.6]) if cube_of(engine, before)[1] < 0.5 else np.array([0.2, 0.4])
        engine.pause()
        engine.move_cube("white", tuple(target))
        until(engine, lambda s: np.linalg.norm(cube_of(engine, s)[:2] - target) < 0.002)
        engine.resume()
        over = until(engine, lambda s: s.phase in ("succeeded", "time up"))
        assert over.disagreement is None  # it never looks
        assert over.imagined is not None and len(over.errors) > 10
        assert over.late_share is not None
        written = engine.save_film(tmp_path / "film.mp4").result(60)
        assert written.stat().st_size > 2000
        if find_spec("rerun"):
            assert _entities(engine.save_recording(tmp_path / "episode.rrd").result(60)) >= {
                "/cameras/top/seen",
                "/cameras/top/imagined",
                "/actions/left/executed",
            }
        else:
            with pytest.raises(ConfigurationError, match="rerun-sdk is not installed"):
                engine.save_recording(tmp_path / "episode.rrd").result(60)


def test_steps_latency_and_policy_are_chosen(policies) -> None:
    with PlayEngine(policies, PlayChoices(task="reach_cube", action_steps=2), urgent=False) as engine:
        engine.set_latency(0.5)
        until(engine, lambda s: s.num_chunks >= 2)
        asked = engine._episode.answers[1]
        assert asked.answered_s - asked.asked_s >= 0.5
        assert engine._episode.policy.config.action_steps == 2
        for latency_s in (-0.1, 2.5):
            with pytest.raises(InputError, match=r"latency in s; got: .*; allowed: 0 to 2"):
                engine.set_latency(latency_s)
        engine.set_latency(0.0)
        engine.set_speed(0.5)
        engine.restart(PlayChoices(task="reach_cube", policy="tiny-reactive"))
        seen = until(engine, lambda s: s.number == 2 and s.seen is not None and s.num_chunks >= 1)
        assert seen.film is None and seen.imagined is None and seen.choices.policy == "tiny-reactive"
        engine.pause()
        engine.restart(PlayChoices(task="reach_cube", policy="tiny-reactive", controller="naive"))
        failed = _until_failed(engine)
        assert "policy under naive control" in failed.problem
        with pytest.raises(InputError, match="episode to save; got: none that is over"):
            engine.save_film(Path("film.mp4")).result(60)


def test_a_policy_of_another_robot_is_refused(tiny) -> None:
    policy = tiny.policy()
    with PlayEngine(lambda name: policy, PlayChoices(), urgent=False) as engine:
        assert "policy to play with; got: one that drives 'toy', 3 joints" in _until_failed(engine).problem


def _entities(recording: Path) -> set[str]:
    """The paths of what a recording holds, read by Rerun itself."""
    from rerun.chunk import RrdReader

    return {chunk.entity_path for chunk in RrdReader(recording).stream()}


def _until_failed(engine: PlayEngine) -> Snapshot:
    for _ in range(200):
        if (snapshot := engine.snapshot()).phase == "failed":
            return snapshot
        time.sleep(0.05)
    raise AssertionError("it did not fail")
