import os
import threading
import time

import numpy as np
import pytest

from foreact.control.clock import RealClock
from foreact.control.report import Tally
from foreact.control.worker import ThreadWorker
from foreact.evaluation.episodes import EpisodeResult, evaluate_episode
from foreact.evaluation.realtime import (
    RealtimeFigures,
    RealtimeRobot,
    real_time_priority,
    realtime_config,
    rehearse,
    run_in_real_time,
)
from foreact.evaluation.robots import SimulatedRobot
from foreact.policy.controllers import control_config


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny.policy(forward_dynamics=True, action_prefixes=True)


def commands(num: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 1, (num, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "observed_after", [(2, 4, 6, 8), (2, 5, 11), (1, 2, 3, 8)], ids=["steady", "holds", "too soon"]
)
def test_a_picture_taken_ahead_is_the_same_picture(toy_env, observed_after) -> None:
    seen = []
    for kind, extra in ((SimulatedRobot, {}), (RealtimeRobot, {"camera_stride": 2})):
        robot = kind(toy_env(), seed=5, control_hz=50.0, **extra)
        robot.observe()
        for step, command in enumerate(commands(12), 1):
            robot.act(command)
            if step in observed_after:
                robot.observe()
        assert robot.picture_steps == [0, *observed_after]
        assert np.array_equal(robot.commands, commands(12))
        seen.append([frame["top"] for frame in robot.pictures])
    assert np.array_equal(*seen)


def test_nothing_is_rendered_at_the_deadline_nor_for_nobody(toy_env) -> None:
    env, rendered_in = toy_env(), []
    robot = RealtimeRobot(env, seed=5, control_hz=50.0, camera_stride=2)
    render, place = env.images, "start"
    env.images = lambda: (rendered_in.append(place), render())[1]
    robot.observe()
    for step, command in enumerate(commands(6), 1):
        place = f"act {step}"
        robot.act(command)
        place = f"observe {step}"
        if step % 2 == 0:
            robot.observe()
    assert rendered_in == ["start", "act 2", "act 4", "act 6"]


def test_a_robot_can_be_driven_on_past_the_end(toy_env) -> None:
    robot = RealtimeRobot(toy_env(), seed=4, control_hz=50.0, camera_stride=2, max_steps=30)
    for number, command in enumerate(commands(30)):
        assert robot.done is (number >= 30)
        robot.act(command)
    assert robot.done and robot.info["success"] and robot.num_steps == 30


def test_the_same_episode_as_in_virtual_time(policy, toy_env, one_thread) -> None:
    """The synchronous robot stands still while it waits: how long changes nothing in what it does."""
    _, kept = evaluate_episode(policy, steady_env(toy_env), 5)
    env, config = steady_env(toy_env), realtime_config(policy, 0.01)
    result, record, report = run_in_real_time(policy, env, 5, mode="synchronous", config=config, duration_s=1.6)
    length = min(len(record.executed), len(kept.executed))
    assert length > 8 and np.array_equal(record.executed[:length], kept.executed[:length])
    assert result.steps == 80 == len(record.commands)
    assert report.num_idle_ticks > 0 and report.num_first_ticks > 0
    assert np.array_equal(record.executed_wall_ticks, report.executed_wall_ticks)


def test_grounded_acts_while_it_computes(policy, toy_env) -> None:
    config = realtime_config(policy, rehearse(policy, toy_env_started(toy_env), "grounded"))
    stored = []
    start_s = time.monotonic()
    result, record, report = run_in_real_time(
        policy, toy_env(), 5, mode="grounded", config=config, duration_s=1.6, on_start=stored.append
    )
    spent_s = time.monotonic() - start_s
    figures = RealtimeFigures.of(result, report, config)
    assert stored == [record] and len(record.chunks) > 1 and len(record.answers) >= len(record.chunks)
    assert any(placed.num_under_way for placed in record.chunks)
    assert figures.duration_s >= 1.6 - 1e-9 and spent_s >= 1.58
    assert figures.num_ticks == 80 and figures.num_chunks == len(result.executed)
    assert figures.delay_ms is not None and figures.delay_ms[0] <= figures.delay_ms[1]


def steady_env(toy_env):
    """Its cameras show where the joints are, and nothing of the time."""
    env = toy_env()
    env.images = lambda: {
        name: np.full((16, 8, 3), int(99 + 50 * env.state()[0]) % 256, np.uint8) for name in env.cameras
    }
    return env


def toy_env_started(toy_env):
    env = toy_env()
    env.reset(seed=5)
    return env


def test_a_rehearsal_changes_nothing(policy, toy_env) -> None:
    env = toy_env_started(toy_env)
    before = env.state().copy(), env.images()["top"]
    for mode in ("synchronous", "naive", "grounded", "prefixed"):
        assert 0 < rehearse(policy, env, mode) < 10
    assert env.num_steps == 0 and env.resets == [5]
    assert np.array_equal(before[0], env.state()) and np.array_equal(before[1], env.images()["top"])


def test_the_rehearsed_delay_is_the_first_to_reckon_with(policy) -> None:
    config = realtime_config(policy, 0.3)
    assert config.delay.initial_s == pytest.approx(0.45), "half as long again"
    assert config.action_hz == control_config(policy).action_hz == 50.0


def test_a_machine_that_is_too_slow_is_found_out(policy, toy_env) -> None:
    env = toy_env()
    step = env.step
    env.step = lambda action: (time.sleep(0.03), step(action))[1]
    config = realtime_config(policy, 0.01)
    result, _, report = run_in_real_time(policy, env, 5, mode="synchronous", config=config)
    figures = RealtimeFigures.of(result, report, config)
    assert result.steps == 20
    assert figures.num_missed_ticks >= 5 and figures.num_late_ticks >= 5 and figures.worst_lateness_ms > 10
    assert figures.duration_s >= 0.5


class HangingWorker(ThreadWorker):
    """The third call takes half a second longer."""

    def __init__(self) -> None:
        super().__init__(RealClock())
        self.num_calls = 0

    def submit(self, call) -> None:
        self.num_calls += 1
        hangs = self.num_calls == 3
        super().submit(lambda: (time.sleep(0.5 if hangs else 0.0), call())[1])


def test_the_robot_is_held_while_a_turn_hangs_and_nothing_is_executed_twice(policy, toy_env) -> None:
    config = realtime_config(policy, 0.02)
    _, record, report = run_in_real_time(
        policy, toy_env(), 5, mode="prefixed", config=config, duration_s=2.5, worker=HangingWorker()
    )
    ticks = report.executed_wall_ticks
    assert report.reason is None and (np.diff(ticks) > 0).all()
    longest = int(np.argmax(np.diff(ticks)))
    assert np.diff(ticks)[longest] >= 10, "half a second less what was decided"
    decided = np.full_like(record.executed, np.nan)
    for placed in record.chunks:
        start = max(placed.begin_tick + placed.num_prefix, placed.arrival_tick)
        actions = placed.chunk.actions[start - placed.begin_tick :]
        decided[start : start + len(actions)] = actions[: max(0, len(decided) - start)]
    assert np.array_equal(decided, record.executed)
    assert longest + 1 < len(record.executed), "it went on"
    if report.num_missed_ticks == 0:
        held = np.array(record.commands[ticks[longest] : ticks[longest + 1]])
        assert (held == held[0]).all()


def test_figures_of_an_episode(policy) -> None:
    tally = Tally(
        num_ticks=100, num_first_ticks=10, num_idle_ticks=18, num_late_ticks=3, num_missed_ticks=2,
        worst_lateness_s=0.05, num_late_chunks=1, num_fallbacks=2, delays_s=[0.1, 0.2, 0.3],
    )  # fmt: skip
    result = EpisodeResult(
        seed=1, success=True, progress=1.0, steps=100, stage="done", imagination_error=[], stage_ms=[{}], executed=[72],
        disagreement=[0.2, 0.4],
    )  # fmt: skip
    figures = RealtimeFigures.of(result, tally.report(None, worker_ended=True), control_config(policy))
    assert figures.duration_s == pytest.approx(102 / 50) and figures.first_chunk_s == pytest.approx(0.2)
    assert figures.idle_s == pytest.approx(0.36) and figures.idle_share == pytest.approx(18 / 90)
    assert figures.delay_ms == pytest.approx((200, 290)) and figures.disagreement == pytest.approx(0.3)
    assert (figures.num_late_ticks, figures.num_missed_ticks, figures.worst_lateness_ms) == (3, 2, pytest.approx(50))
    assert (figures.num_chunks, figures.num_late_chunks, figures.num_fallbacks) == (1, 1, 2)


def test_priority_is_for_this_thread_alone_and_given_back() -> None:
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    started = []
    with real_time_priority() as granted:
        if granted:
            assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
        thread = threading.Thread(target=lambda: started.append(os.sched_getscheduler(0)))
        thread.start()
        thread.join()
    assert started == [os.SCHED_OTHER]
    assert (os.sched_getscheduler(0), os.sched_getparam(0)) == before


def test_priority_that_is_forbidden_is_said_to_be(monkeypatch) -> None:
    def refuse(*args):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with real_time_priority() as granted:
        assert granted is False
