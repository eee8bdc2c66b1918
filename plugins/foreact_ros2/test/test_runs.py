"""Whole runs: messages, the robot made of them, our client, a real policy server on this machine."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from arms import Bag, DirectArms, RosArms, command_messages, read_bag

from foreact.control.client import Client
from foreact.control.clock import Clock, RealClock, VirtualClock
from foreact.control.config import ControlConfig
from foreact.control.drive import drive
from foreact.control.emergency import EmergencyStop
from foreact.control.latency import constant
from foreact.control.worker import ThreadWorker, VirtualWorker
from foreact_ros2.runs import Runs
from foreact_ros2.settings import read_parameters
from foreact_ros2.topics_robot import TopicsRobot

pytest.importorskip("torch", reason="a policy server runs here")

LATENCY_S = 0.2


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A real server of the policy that foreact ships."""
    import torch

    import foreact
    from foreact.serving.background import serving
    from foreact.serving.config import ServerConfig

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums in the same order
    with serving(foreact.load("tiny"), ServerConfig(port=0)) as server:
        yield server.address
    torch.set_num_threads(before)


class Setup:
    """A bridge without the node, in virtual time, and the arms beyond it."""

    def __init__(self, ros, parameters: dict, *, clock: Clock | None = None, worker: Callable | None = None):
        self.clock = clock or VirtualClock(5.0)
        self.settings = read_parameters(parameters)
        self.arms = RosArms(ros, self.settings, self.clock)
        self.robot = TopicsRobot(self.settings, ros_now=self.arms.now, clock=self.clock, send=self.send)
        self.arms.robot = self.robot
        self.sent, self.disagreements, self.reports = [], [], []
        self.runs = Runs(
            self.robot,
            self.settings,
            tell_disagreement=self.disagreements.append,
            tell_report=lambda text: self.reports.append(json.loads(text)),
            clock=self.clock,
            make_worker=worker or (lambda clock: VirtualWorker(clock, constant(LATENCY_S))),
        )

    def send(self, positions) -> None:
        self.sent.append(np.array([positions[joint.joint] for joint in self.settings.joints], np.float32))
        self.arms.send(positions)

    def run(self) -> dict:
        """One run to its end; its report."""
        assert self.runs.start()[0]
        self.runs._thread.join(120)
        assert not self.runs.running
        return self.reports[-1]

    @property
    def at_rest(self) -> bool:
        return np.array_equal(self.sent[-1], self.sent[-2])


@pytest.fixture
def made(ros, aloha, address) -> Callable[..., Setup]:
    usual = {"server": address, "emergency_age_s": 0.0, "run_s": 2.4, "wait_s": 0.5}

    def make(*, clock: Clock | None = None, worker: Callable | None = None, **changes) -> Setup:
        setup = Setup(ros, aloha | usual | changes, clock=clock, worker=worker)
        setup.arms.tell()
        return setup

    return make


def in_policy_units(setup: Setup) -> np.ndarray:
    joints = setup.settings.joints
    return (np.stack(setup.sent) - [j.offset for j in joints]) / [j.scale for j in joints]


def driven_directly(setup: Setup) -> tuple[np.ndarray, int]:
    """What the same loop, client and server give a robot without ROS."""
    clock, emergency, settings = VirtualClock(5.0), EmergencyStop(), setup.settings
    robot = DirectArms(clock, emergency, settings.run_s)
    with Client(settings.server, settings.instruction, mode=settings.mode, seed=settings.seed) as client:
        facts = client.facts
        config = ControlConfig(
            action_hz=facts.action_hz,
            camera_stride=facts.camera_stride,
            actions_per_latent_frame=facts.actions_per_latent_frame,
            latent_frames_per_chunk=facts.latent_frames_per_chunk,
            watchdog_s=settings.watchdog_s,
            limits=settings.limits(facts.action_names),
        )
        worker = VirtualWorker(clock, constant(LATENCY_S))
        start = robot.arms.joints
        report = drive(robot, client, config, clock=clock, worker=worker, standstill=start, emergency=emergency)
    return np.stack(robot.commands), report.num_turns


def test_commands_are_those_of_a_robot_driven_directly_and_a_bag_of_it_replays(made, ros, tmp_path: Path) -> None:
    setup = made()
    bag = Bag(ros, tmp_path / "bag", setup.clock)
    setup.arms.keep = bag.keep
    with bag.writer:
        setup.arms.tell()
        setup.clock.sleep_until(5.0)
        report = setup.run()
    expected, num_turns = driven_directly(setup)
    got = in_policy_units(setup)
    assert got.shape == expected.shape and report["num_turns"] == num_turns >= 2
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.ptp(got, axis=0).max() > 0.1 and setup.at_rest  # it moved, and came to rest
    assert report["reason"] == "the time of the run is over" and len(setup.disagreements) >= num_turns - 1
    replay(made(), ros, read_bag(ros, tmp_path / "bag"), got=setup)


def replay(setup: Setup, ros, said: list, *, got: Setup) -> None:
    """Feed another bridge, in another session, with what the bag's sensors said: it must say the bag's commands."""
    topics = {group.topic: group for group in setup.settings.commands}
    sensed = {
        "/joint_states": lambda m: setup.robot.feel(m),
        "/camera_top/image_raw": lambda m: setup.robot.see("top", m),
    }
    left = iter(said)
    pending = [next(left)]

    def feed() -> None:
        while pending and pending[0][0] in sensed:
            topic, message = pending.pop()
            sensed[topic](message)
            pending.extend([item] if (item := next(left, None)) else [])

    def send(positions) -> None:
        for group, message in command_messages(ros, setup.settings, positions):
            topic, recorded = pending.pop()
            assert topic == group.topic and topic in topics
            ours = message.points[0].positions if group.message == "trajectory" else message.data
            theirs = recorded.points[0].positions if group.message == "trajectory" else recorded.data
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
            setup.sent.append(ours)
            pending.extend([item] if (item := next(left, None)) else [])
        feed()

    fresh = TopicsRobot(setup.settings, ros_now=setup.arms.now, clock=setup.clock, send=send)
    setup.robot = setup.runs._robot = fresh
    feed()
    report = setup.run()
    assert report == got.reports[-1] and not pending
    assert len(setup.sent) == len(topics) * len(got.sent)


def test_the_emergency_stop(made) -> None:
    setup = made()
    setup.arms.on_command = lambda number: setup.runs.press(True) if number == 60 else None
    assert setup.run()["reason"] == "emergency stop"
    assert 60 < len(setup.sent) < 100 and setup.at_rest
    assert setup.runs.start() == (False, "the emergency stop is pressed")
    setup.runs.press(False)
    setup.arms.tell()
    setup.arms.on_command = lambda number: None
    assert setup.run()["reason"] == "the time of the run is over"


def test_limits_are_kept_on_the_way_to_rest(made) -> None:
    setup = made()
    setup.arms.on_command = lambda number: setup.runs.stop("now") if number == 50 else None
    assert setup.run()["reason"] == "now" and len(setup.sent) > 50
    steps = np.diff(in_policy_units(setup), axis=0) * 50
    velocity = [j.velocity for j in setup.settings.joints]
    acceleration = np.array([j.acceleration for j in setup.settings.joints])
    assert (np.abs(steps) <= np.array(velocity) + 1e-3).all()
    assert (np.abs(np.diff(steps, axis=0)) * 50 <= acceleration + 2e-2).all()


def test_a_camera_that_falls_silent(made) -> None:
    setup = made(image_age_s=0.1)

    def go_blind(number: int) -> None:
        setup.arms.blind = number >= 50

    setup.arms.on_command = go_blind
    reason = setup.run()["reason"]
    assert "camera 'top' is 0.1" in reason and setup.at_rest and len(setup.sent) < 90


def test_nothing_heard(made) -> None:
    setup = made(joint_age_s=0.01)
    setup.clock.sleep_until(6.0)
    assert "cannot begin" in setup.run()["reason"] and not setup.sent


TAIL = {f"joints.tail.{name}": 1.0 for name in ("high", "velocity", "acceleration")} | {
    "joints.tail.low": -1.0,
    "joints.tail.joint": "tail",
    "commands.tail.topic": "/tail",
    "commands.tail.joints": ["tail"],
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (TAIL, "joints of the bridge"),
        ({"server": "127.0.0.1:9"}, "policy server at"),
        ({"mode": "telepathic"}, "telepathic"),
        ({"token_file": "/nowhere/token"}, "token_file"),
        ({"joints.left_waist.low": 0.3}, "where the robot stands"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_moves(made, changes, words) -> None:
    setup = made(**changes)
    assert words in setup.run()["reason"] and not setup.sent


def test_another_camera_than_the_policys(made) -> None:
    setup = made()
    object.__setattr__(setup.settings.cameras[0], "name", "side")
    assert "lacks cameras top" in setup.run()["reason"] and not setup.sent


def test_a_policy_whose_actions_are_no_positions(made, monkeypatch) -> None:
    setup = made()
    connect = setup.runs._connect

    def other(instruction: str) -> Client:
        client = connect(instruction)
        object.__setattr__(client.facts, "state_is_action", False)
        return client

    monkeypatch.setattr(setup.runs, "_connect", other)
    assert "absolute positions" in setup.run()["reason"] and not setup.sent


def test_a_mistake_of_ours_stops_the_robot_and_is_told(made, monkeypatch, caplog) -> None:
    setup = made()
    monkeypatch.setattr(setup.runs, "_note", lambda placed: 1 / 0)
    assert "ZeroDivisionError" in setup.run()["reason"]
    assert setup.at_rest and "a mistake of the bridge" in caplog.text


def test_what_start_refuses(made) -> None:
    setup = made(instruction=" ")
    assert setup.runs.start() == (False, "there is no instruction")
    assert setup.runs.stop("why not") == (True, "no run is under way")
    setup.runs.instruct("push it")
    told = []
    setup.arms.on_command = lambda number: told.append(setup.runs.start()) if number == 5 else None
    setup.run()
    assert told == [(False, "a run is under way")]
    assert setup.runs.close()
    assert setup.runs.start() == (False, "the bridge is being closed")


def test_another_instruction_ends_the_run(made) -> None:
    setup = made()
    setup.arms.on_command = lambda number: number == 40 and setup.runs.instruct(setup.settings.instruction)
    assert setup.run()["reason"] == "the time of the run is over"  # the same again changes nothing
    setup.arms.on_command = lambda number: setup.runs.instruct("wave")
    assert "another instruction" in setup.run()["reason"]


def test_in_real_time_closing_brings_it_to_rest(made, caplog) -> None:
    caplog.set_level(logging.WARNING)
    setup = made(clock=RealClock(), worker=ThreadWorker, run_s=0.0, image_age_s=2.0, joint_age_s=2.0, watchdog_s=20.0)
    reached = Event()
    setup.arms.on_command = lambda number: reached.set() if number == 60 else None
    assert setup.runs.start()[0]
    assert reached.wait(60)
    assert setup.runs.close(wait_s=30)
    setup.runs._thread.join(30)
    assert setup.reports[-1]["reason"] == "the bridge is being closed" and setup.at_rest
    assert "the robot is held" in caplog.text
