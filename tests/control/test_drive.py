import threading
import time
from itertools import chain, repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreact.control.clock import RealClock, VirtualClock
from foreact.control.controller import Controller
from foreact.control.drive import drive
from foreact.control.emergency import EmergencyStop
from foreact.control.latency import DelaySettings, constant, lognormal
from foreact.control.limits import MotionLimits
from foreact.control.robot import Robot
from foreact.control.worker import ThreadWorker, VirtualWorker
from foreact.types import ActionChunk, Observation

TICK_S = 0.02
STANDSTILL = np.array([-1, 0], np.float32)


@st.composite
def situations(draw) -> tuple[dict, dict, list[float]]:
    """Settings, what the controller is like, and latencies in seconds."""
    stride, num_frames = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    chosen = {
        "camera_stride": stride,
        "actions_per_latent_frame": stride * draw(st.integers(1, 3)),
        "latent_frames_per_chunk": num_frames,
        "execution_horizon": draw(st.none() | st.integers(1, num_frames)),
        "late": draw(st.sampled_from(["hold", "slow"])),
        "slow_factor": draw(st.integers(1, 3)),
    }
    delay = {"initial_s": draw(st.none() | st.floats(0, 0.4)), "margin_ticks": draw(st.integers(0, 2))}
    empty = draw(st.sets(st.integers(1, 10)))
    controller = {"waits": draw(st.booleans()), "inpaints": draw(st.booleans()), "sees_first": empty.__contains__}
    return chosen | {"delay": delay}, controller, draw(st.lists(st.floats(0, 0.5), min_size=1, max_size=8))


def configure(doubles, settings: dict, **more):
    delay = DelaySettings(quantile=0.8, window=4, **settings["delay"])
    return doubles.config(**(settings | {"delay": delay} | more))


def test_the_doubles_are_what_the_loop_asks_for(doubles) -> None:
    assert isinstance(doubles.Robot(1), Robot)
    assert isinstance(doubles.Controller(doubles.config()), Controller)


@given(situations())
def test_whatever_the_delays_every_action_is_executed_once_and_in_order(doubles, situation) -> None:
    settings, controller, latencies = situation
    config, latency = configure(doubles, settings), chain(latencies, repeat(latencies[-1]))
    report, _, robot = doubles.run(config, latencies_s=latency, standstill=STANDSTILL, **controller)
    num_executed = report.num_executed
    assert report.executed[:, 0].tolist() == list(range(num_executed))
    assert np.all(np.diff(report.executed[:, 1]) >= 0), "an older chunk came after a newer one"
    assert np.all(np.diff(report.executed_wall_ticks) >= 1)
    assert [robot.commands[tick].tolist() for tick in report.executed_wall_ticks] == report.executed.tolist()
    counted = report.num_first_ticks + report.num_idle_ticks + report.num_slowed_ticks + num_executed
    assert report.num_ticks == counted == len(robot.commands) == 60
    assert report.num_late_ticks == report.num_missed_ticks == report.num_stopping_ticks == 0


@given(situations())
def test_turns_tile_what_was_executed(doubles, situation) -> None:
    settings, controller, latencies = situation
    config, latency = configure(doubles, settings), chain(latencies, repeat(latencies[-1]))
    report, brain, _ = doubles.run(config, latencies_s=latency, num_commands=60, **controller)
    stride, per_frame, tick = config.camera_stride, config.actions_per_latent_frame, 0
    for number, turn in enumerate(brain.turns, start=1):
        until = tick + len(turn.executed)
        assert turn.executed.tolist() == report.executed[tick:until].tolist()
        assert turn.images["top"][:, 0, 0, 0].tolist() == list(range(tick + stride, until + 1, stride))
        answered = not brain.sees_first(number)
        decided = np.concatenate([turn.under_way, turn.prefix]) if answered else turn.under_way
        happened = report.executed[until:][: len(decided)]
        assert decided[: len(happened)].tolist() == happened.tolist()
        assert until % per_frame == len(turn.under_way) % per_frame == 0
        assert len(turn.prefix) == 0 or (brain.inpaints and not brain.waits)
        assert len(turn.under_way) == 0 or not brain.waits
        assert len(turn.prefix) < per_frame
        tick = until
    assert len(brain.turns) == report.num_turns


@settings(max_examples=15)
@given(situations())
def test_virtual_time_is_deterministic(doubles, situation) -> None:
    settings, controller, latencies = situation
    config, stored = configure(doubles, settings), []

    def run() -> list:
        latency = chain(latencies, lognormal(0.1, 0.5, seed=1))
        report, _, robot = doubles.run(config, latencies_s=latency, on_chunk=stored.append, **controller)
        times = [(placed.asked_s, placed.answered_s, placed.begin_tick) for placed in stored]
        stored.clear()
        return [times, np.stack(robot.commands).tolist(), report.delays_s, report.executed_wall_ticks.tolist()]

    assert run() == run()


@settings(max_examples=25)
@given(st.booleans(), st.integers(0, 20), st.sampled_from([None, 1, 2]))
def test_a_delay_within_a_chunk_costs_no_tick(doubles, inpaints, delay_ticks, horizon) -> None:
    config, latency = doubles.config(execution_horizon=horizon), constant(delay_ticks * TICK_S)
    report, _, _ = doubles.run(config, latencies_s=latency, num_commands=100, inpaints=inpaints)
    assert report.num_first_ticks == delay_ticks
    if delay_ticks <= config.actions_per_chunk:
        assert report.num_idle_ticks == report.num_late_chunks == 0
        assert report.num_executed == 100
    else:
        assert report.num_idle_ticks > 0 and report.num_late_chunks > 0


@pytest.mark.parametrize("horizon", [None, 1, 2])
@pytest.mark.parametrize("blend", [0, 3])
def test_without_latency_all_take_the_same_turns(doubles, horizon, blend) -> None:
    config = doubles.config(execution_horizon=horizon, blend_actions=blend)
    (_, sync, robot), *others = (
        doubles.run(config, waits=waits, inpaints=inpaints)
        for waits, inpaints in [(True, False), (False, False), (False, True)]
    )
    assert len(sync.turns) == 59 // (4 * (horizon or 3))
    for report, brain, other in others:
        assert report.num_idle_ticks == 0
        assert np.stack(other.commands).tolist() == np.stack(robot.commands).tolist()
        for turn, same in zip(brain.turns, sync.turns, strict=True):
            assert not len(turn.under_way) and not len(turn.prefix)
            assert turn.executed.tolist() == same.executed.tolist()
            assert turn.images["top"].tolist() == same.images["top"].tolist()


@settings(max_examples=15)
@given(st.integers(0, 20), st.sampled_from([None, 1, 2]))
def test_a_controller_that_waits_idles_exactly_its_latency(doubles, delay_ticks, horizon) -> None:
    config, per_chunk = doubles.config(execution_horizon=horizon, late="stop"), 4 * (horizon or 3)
    num_commands = 5 * (delay_ticks + per_chunk)
    report, _, robot = doubles.run(
        config,
        latencies_s=constant(delay_ticks * TICK_S),
        num_commands=num_commands,
        standstill=STANDSTILL,
        waits=True,
    )
    numbers = [command[0] for command in robot.commands]
    expected: list[float] = []
    for chunk in range(5):
        first = chunk * per_chunk
        expected += [first - 1.0] * delay_ticks + [float(first + action) for action in range(per_chunk)]
    assert numbers == expected
    assert report.num_idle_ticks == 4 * delay_ticks and report.num_first_ticks == delay_ticks
    assert report.reason is None and report.num_late_chunks == 0
    assert report.idle_share == pytest.approx(4 * delay_ticks / (4 * delay_ticks + 5 * per_chunk))


@given(situations(), st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_limits_hold_for_every_command_and_executed_is_what_was_given(doubles, situation, numbers) -> None:
    settings, controller, latencies = situation
    limits = MotionLimits(low=(-0.5, -1.0), high=(0.5, 1.0), velocity=(3.0, 1.0), acceleration=(50.0, 20.0))
    config = configure(doubles, settings, limits=limits, watchdog_s=0.45)
    wanted = np.random.default_rng(0).permuted(np.resize(numbers, (2, 100, 2)), axis=1).astype(np.float32)

    class Restless(doubles.Controller):
        def chunk(self, begin: int) -> ActionChunk:
            return ActionChunk(actions=wanted[len(self.turns) % 2][: config.actions_per_chunk].copy())

    clock, robot, brain = VirtualClock(), doubles.Robot(80), Restless(config, **controller)
    robot.observe = lambda: Observation(
        images={"top": np.zeros((1, 2, 3), np.uint8)}, state=np.zeros(2, np.float32), time_s=0.0
    )
    worker, standstill = VirtualWorker(clock, chain(latencies, repeat(latencies[-1]))), np.zeros(2, np.float32)
    report = drive(robot, brain, config, clock=clock, worker=worker, standstill=standstill)
    given_commands = np.stack([standstill, standstill, *robot.commands]).astype(np.float64)
    assert np.all(np.abs(given_commands) <= [0.5, 1.0])
    assert np.all(np.abs(np.diff(given_commands, axis=0)) / TICK_S <= np.array([3.0, 1.0]) + 1e-4)
    assert np.all(np.abs(np.diff(given_commands, n=2, axis=0)) / TICK_S**2 <= np.array([50.0, 20.0]) + 2e-3)
    assert [robot.commands[tick].tolist() for tick in report.executed_wall_ticks] == report.executed.tolist()
    stored = [action.tolist() for turn in brain.turns for action in turn.executed]
    assert stored == report.executed[: len(stored)].tolist()


def test_nothing_is_asked_of_anyone_once_the_robot_is_done(doubles) -> None:
    report, _, robot = doubles.run(doubles.config(), num_commands=0, standstill=STANDSTILL)
    assert robot.num_pictures == report.num_ticks == report.num_turns == 0 and report.reason is None
    assert report.idle_share == report.late_share == 0


def test_an_emergency_stop_thrown_before_the_start_moves_nothing(doubles) -> None:
    clock, robot, config, emergency = VirtualClock(), doubles.Robot(9), doubles.config(), EmergencyStop()
    emergency.stop("not today")
    brain, worker = doubles.Controller(config), VirtualWorker(clock, constant(0.0))
    report = drive(robot, brain, config, clock=clock, worker=worker, standstill=STANDSTILL, emergency=emergency)
    assert report.reason == "not today" and [c.tolist() for c in robot.commands] == [STANDSTILL.tolist()]


def test_an_onlookers_error_leaves_the_robot_at_rest(doubles) -> None:
    def stumble(placed) -> None:
        if placed.index == 1:
            raise RuntimeError("the screen fell over")

    robot, clock, config = doubles.Robot(90), VirtualClock(), doubles.config()
    brain, worker = doubles.Controller(config), VirtualWorker(clock, constant(0.0))
    with pytest.raises(RuntimeError, match="fell over"):
        drive(robot, brain, config, clock=clock, worker=worker, on_chunk=stumble)
    assert [command[0] for command in robot.commands] == [*range(12), 11]


def fast(doubles, **changes):
    """Ticks of a millisecond, so that real time passes quickly."""
    return doubles.config(action_hz=1000.0, **changes)


def test_real_time_with_a_hung_controller_repeats_nothing(doubles) -> None:
    class Hanging(doubles.Controller):
        def proceed(self, turn) -> ActionChunk:
            if len(self.turns) == 2:
                time.sleep(0.3)
            return super().proceed(turn)

    robot, clock, config = doubles.Robot(500), RealClock(), fast(doubles, watchdog_s=5.0)
    report = drive(robot, Hanging(config), config, clock=clock, worker=ThreadWorker(clock))
    assert report.reason is None and report.worker_ended
    assert report.num_idle_ticks > 20 and report.num_late_chunks >= 1
    assert report.num_executed > 36, "it went on"
    assert report.executed[:, 0].tolist() == list(range(report.num_executed))
    ticks = {number: 0 for number in range(report.num_executed)}
    for number in (int(command[0]) for command in robot.commands):
        ticks[number] += 1
    assert sum(ticks.values()) == report.num_executed + report.num_idle_ticks
    assert max(report.delays_s) >= 0.3


def test_real_time_emergency_stop_from_another_thread(doubles) -> None:
    robot, clock, config, emergency = doubles.Robot(10**6), RealClock(), fast(doubles), EmergencyStop()
    timer = threading.Timer(0.05, emergency.stop, ["the red button"])
    timer.start()
    report = drive(
        robot, doubles.Controller(config), config, clock=clock, worker=ThreadWorker(clock), emergency=emergency
    )
    timer.join()
    emergency.stop("again")
    assert report.reason == emergency.reason == "the red button"
    assert robot.commands[-1].tolist() == robot.commands[-2].tolist() == report.executed[-1].tolist()
    assert report.num_stopping_ticks == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "foreact-controller"]


def test_real_time_an_error_of_the_controller_arrives_whole(doubles) -> None:
    class Failing(doubles.Controller):
        def proceed(self, turn) -> ActionChunk:
            return self.forget_how()

        def forget_how(self) -> ActionChunk:
            raise LookupError("no idea")

    robot, clock, config = doubles.Robot(10**6), RealClock(), fast(doubles)
    with pytest.raises(LookupError, match="no idea") as raised:
        drive(robot, Failing(config), config, clock=clock, worker=ThreadWorker(clock))
    assert "forget_how" in [entry.name for entry in raised.traceback]
    assert robot.commands[-1].tolist() == robot.commands[-2].tolist()
    assert not [thread for thread in threading.enumerate() if thread.name == "foreact-controller"]


def test_real_time_a_controller_that_never_ends_is_left_behind(doubles) -> None:
    release = threading.Event()

    class Stuck(doubles.Controller):
        def proceed(self, turn) -> ActionChunk:
            release.wait(20)
            return super().proceed(turn)

    robot, clock, config = doubles.Robot(10**6), RealClock(), fast(doubles, watchdog_s=0.05)
    report = drive(robot, Stuck(config), config, clock=clock, worker=ThreadWorker(clock, close_s=0.01))
    release.set()
    assert "watchdog" in str(report.reason) and not report.worker_ended
    assert report.executed[:, 0].tolist() == list(range(12))
