from itertools import chain, repeat

import numpy as np
import pytest

from foreact.control.clock import VirtualClock
from foreact.control.drive import drive
from foreact.control.emergency import EmergencyStop
from foreact.control.latency import DelaySettings, constant
from foreact.control.limits import MotionLimits
from foreact.control.worker import VirtualWorker
from foreact.errors import ConfigurationError

TICK_S = 0.02


def test_a_late_chunk_is_executed_from_where_the_robot_stands(doubles) -> None:
    placed = []
    config = doubles.config(delay=DelaySettings(initial_s=0.0))
    latencies = chain([0.0, 5 * TICK_S], repeat(0.0))
    report, _, robot = doubles.run(config, latencies_s=latencies, num_commands=20, on_chunk=placed.append)
    assert [command[0] for command in robot.commands] == [*range(12), *[11] * 5, 12, 13, 14]
    assert report.num_idle_ticks == 5 and report.num_late_chunks == 1
    assert [p.late for p in placed] == [False, True]


def test_slowing_down_comes_before_holding(doubles) -> None:
    config = doubles.config(late="slow", slow_below=2, delay=DelaySettings(initial_s=0.08))
    latencies = chain([0.0, 9 * TICK_S], repeat(0.0))
    report, _, robot = doubles.run(config, latencies_s=latencies, num_commands=19)
    numbers = [float(command[0]) for command in robot.commands]
    assert numbers == [*range(10), 9.5, 10, 10.5, 11, 11, 11, 11, 12, 13]
    assert report.num_slowed_ticks == 2 and report.num_idle_ticks == 3 and report.num_late_chunks == 1
    assert report.executed[:, 0].tolist() == list(range(14))


def test_an_answer_ends_slowing_down_between_two_actions(doubles) -> None:
    config = doubles.config(late="slow", slow_below=2, slow_factor=4, delay=DelaySettings(initial_s=0.08))
    report, _, robot = doubles.run(config, latencies_s=chain([0.0, 0.08], repeat(0.0)), num_commands=15)
    assert [float(command[0]) for command in robot.commands] == [*range(10), 9.25, 9.5, 10, 11, 12]
    assert report.executed[:, 1].tolist() == [0] * 12 + [1]


def test_a_late_chunk_stops_the_robot_where_it_is_told_to(doubles) -> None:
    config = doubles.config(late="stop", delay=DelaySettings(initial_s=0.08))
    report, _, robot = doubles.run(config, latencies_s=chain([0.0], repeat(0.1)), num_commands=90)
    assert report.reason == "no action for policy tick 12: the chunk is late"
    assert report.num_executed == 12 and report.num_stopping_ticks == 1
    assert robot.commands[-1].tolist() == robot.commands[-2].tolist()
    assert report.num_ticks == len(robot.commands) == 13


def test_the_watchdog_stops_the_robot(doubles) -> None:
    config = doubles.config(watchdog_s=0.5)
    report, _, robot = doubles.run(config, latencies_s=chain([0.0], repeat(99.0)), num_commands=900)
    assert report.reason == "no answer for 0.5 s, the watchdog's limit is 0.5 s"
    assert report.num_executed == 12 and len(robot.commands) == 12 + 25 + 1
    assert robot.commands[-1].tolist() == robot.commands[11].tolist()


def test_the_watchdog_guards_the_first_chunk_too(doubles) -> None:
    config = doubles.config(watchdog_s=0.1)
    report, _, robot = doubles.run(config, latencies_s=repeat(99.0))
    assert "watchdog" in str(report.reason)
    assert robot.commands == [] and report.executed.shape == (0, 0)


def test_limits_of_motion_ask_where_the_robot_stands(doubles) -> None:
    with pytest.raises(ConfigurationError, match="where the robot stands"):
        doubles.run(doubles.config(limits=MotionLimits(velocity=(1.0, 1.0))))


def stopped_after(doubles, num_commands: int, **changes) -> tuple[list[float], list[float]]:
    """Throw the switch right after so many commands; return all commands' numbers and times in ticks."""
    clock, emergency = VirtualClock(), EmergencyStop()

    class Stopped(doubles.Robot):
        def act(self, action: np.ndarray) -> None:
            super().act(action)
            if len(self.commands) == num_commands:
                emergency.stop("enough")

    robot, config = Stopped(900, clock), doubles.config(**changes)
    brain, worker = doubles.Controller(config), VirtualWorker(clock, constant(0.0))
    report = drive(robot, brain, config, clock=clock, worker=worker, standstill=np.zeros(2), emergency=emergency)
    assert report.reason == "enough"
    assert report.num_stopping_ticks == len(robot.commands) - num_commands
    return [float(command[0]) for command in robot.commands], [time_s / TICK_S for time_s in robot.times_s]


def test_an_emergency_stop_takes_effect_at_the_next_tick(doubles) -> None:
    commands, times = stopped_after(doubles, 5)
    assert commands == [0, 1, 2, 3, 4, 4]
    assert times == pytest.approx(range(6))


def test_a_robot_in_motion_is_stopped_within_its_limits(doubles) -> None:
    """An action a tick is 50 a second; half an action a tick, and tick, may be taken off."""
    limits = MotionLimits(acceleration=(0.5 * 50 * 50, 1e9))
    commands, times = stopped_after(doubles, 8, limits=limits)
    steps = np.diff(commands[7:])
    assert steps == pytest.approx([0.5, 0.0]) and commands[7] == 7
    assert times == pytest.approx(range(10))


def test_the_watchdog_acts_in_the_tick_in_which_it_is_due(doubles) -> None:
    report, _, robot = doubles.run(
        doubles.config(watchdog_s=0.1), latencies_s=repeat(99.0), standstill=np.zeros(2), num_commands=900
    )
    assert len(robot.commands) == report.num_first_ticks + 1 == 6
    assert report.num_stopping_ticks == 1
    assert robot.times_s == pytest.approx(TICK_S * np.arange(6))
