"""Drives a simulated robot by a policy that runs in another process, or on another machine.

foreact serve --policy tiny                          (in one terminal)
python examples/serving/drive_remote.py              (in another; MUJOCO_GL=egl where there is no display)
"""

import argparse

from foreact.control.client import Client
from foreact.control.clock import RealClock
from foreact.control.drive import drive
from foreact.control.worker import ThreadWorker
from foreact.errors import ForeactError
from foreact.evaluation.robots import SimulatedRobot
from foreact.simulation.environment import BimanualEnv

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--server", default="127.0.0.1:8000", help="as foreact serve prints it")
parser.add_argument("--token", default=None, help="if the server was given one")
parser.add_argument("--mode", default="grounded", help="or synchronous: the robot stands still while it waits")
parser.add_argument("--task", default="lift_cube")
parser.add_argument("--seed", type=int, default=1_000_000)
arguments = parser.parse_args()

try:
    env = BimanualEnv(arguments.task, cameras=("top",), image_size=128)
    robot = SimulatedRobot(env, seed=arguments.seed, control_hz=50.0)  # yours has observe(), act(action) and done
    with Client(
        arguments.server,
        robot.instruction,
        mode=arguments.mode,
        token=arguments.token,
        read_state=lambda: robot.state,
    ) as client:
        clock, config = RealClock(), client.facts.control_config()
        report = drive(robot, client, config, clock=clock, worker=ThreadWorker(clock), standstill=robot.state)
    env.close()
except ForeactError as error:
    raise SystemExit(f"error: {error}") from error
print(f"success: {robot.info['success']}; {report.num_turns} turns, {report.num_late_chunks} late chunks,", end=" ")
print(f"stood still for {report.idle_share:.0%} of the time; stopped because: {report.reason or 'it was over'}")
