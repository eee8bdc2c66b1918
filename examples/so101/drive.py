"""Drives an SO-101 arm by a policy that `foreact serve` runs, here or on another machine.

pip install "lerobot[feetech]"                       (the arm's driver, in this environment)
foreact serve --policy runs/mine/policy              (in another terminal, or on the machine with the GPU)
python examples/so101/drive.py --port /dev/ttyACM0 --cameras front=0 wrist=2 --task "Put the block in the box."
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from foreact.control.client import Client
from foreact.control.clock import RealClock
from foreact.control.drive import drive
from foreact.control.report import DriveReport
from foreact.control.worker import ThreadWorker
from foreact.types import Observation


class LeRobotArm:
    """Any robot object of LeRobot's as foreact's control loop asks for one: `observe`, `act` and `done`."""

    def __init__(self, robot: Any, joints: Sequence[str], cameras: Sequence[str], seconds: float):
        self._robot, self._joints, self._cameras = robot, joints, cameras
        self._begun, self._seconds = time.monotonic(), seconds
        self._latest = robot.get_observation()

    @property
    def state(self) -> np.ndarray:
        """Where the joints are, in LeRobot's units: degrees, and per cent of the gripper's opening."""
        return np.array([self._latest[joint] for joint in self._joints], np.float32)

    @property
    def done(self) -> bool:
        """True once the time is over."""
        return time.monotonic() > self._begun + self._seconds

    def observe(self) -> Observation:
        """Take the pictures and read the joints."""
        self._latest = self._robot.get_observation()
        pictures = {name: self._latest[name] for name in self._cameras}
        return Observation(images=pictures, state=self.state, time_s=time.monotonic() - self._begun)

    def act(self, action: np.ndarray) -> None:
        """Send the joints where the action says."""
        self._robot.send_action({joint: float(value) for joint, value in zip(self._joints, action, strict=True)})


def run(robot: Any, server: str, task: str, seconds: float) -> DriveReport:
    """Drive a connected robot for some seconds; the joints, cameras, rate and limits are those that the server says.

    It stands still while a chunk is computed. A policy trained for asynchronous control need not: mode="grounded".
    """
    with Client(server, task, mode="synchronous") as client:
        arm = LeRobotArm(robot, client.facts.action_names, list(client.facts.cameras), seconds)
        clock = RealClock()
        config = client.facts.control_config()
        return drive(arm, client, config, clock=clock, worker=ThreadWorker(clock), standstill=arm.state)


def main() -> None:
    """Connect to the arm, and drive it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", required=True, help="serial port of the arm")
    parser.add_argument("--cameras", nargs="+", required=True, help="name=index of each, as when it was recorded")
    parser.add_argument("--task", required=True, help="the instruction, word for word as it was recorded")
    parser.add_argument("--server", default="127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    from lerobot.cameras.opencv import OpenCVCameraConfig
    from lerobot.robots.so101_follower import SO101Follower, SO101FollowerConfig

    cameras = {
        name: OpenCVCameraConfig(index_or_path=int(index), fps=30, width=640, height=480)
        for name, index in (camera.split("=") for camera in given.cameras)
    }
    robot = SO101Follower(SO101FollowerConfig(port=given.port, cameras=cameras, use_degrees=True))
    robot.connect()
    try:
        report = run(robot, given.server, given.task, given.seconds)
    finally:
        robot.disconnect()
    print(
        f"{report.num_turns} chunks, {report.num_late_chunks} late; stopped because: {report.reason or 'time was over'}"
    )


if __name__ == "__main__":
    main()
