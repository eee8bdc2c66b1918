"""Two replicas of a policy server on this machine; robots on both; one replica is killed: its robots go on.

pip install ".[policy,sim,ray]"
MUJOCO_GL=egl python examples/ray/two_replicas.py
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # else whatever runs beside Ray comes before the robots

import ray
from ray import serve

from foreact.control.client import Client
from foreact.control.clock import RealClock
from foreact.control.controller import Turn
from foreact.control.drive import drive
from foreact.control.report import DriveReport
from foreact.control.worker import ThreadWorker
from foreact.evaluation.robots import SimulatedRobot
from foreact.serving.ray_deployment import Arguments, app
from foreact.simulation.environment import BimanualEnv
from foreact.types import ActionChunk, Observation

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--policy", default="tiny")
parser.add_argument("--schedule", default="turbo", help="denoising steps by name")
parser.add_argument("--task", default="transfer_cube")
parser.add_argument("--seconds", type=float, default=30.0, help="after which an episode is cut off")
parser.add_argument("--robots", type=int, default=2)
parser.add_argument("--kill-after-s", type=float, default=5.0, help="from when the first robot moves")
parser.add_argument("--port", type=int, default=8000)
arguments = parser.parse_args()
begun_s, speaking = time.monotonic(), Lock()


def say(what: str) -> None:
    """Print it with the time."""
    with speaking:
        print(f"{time.monotonic() - begun_s:6.2f} s  {what}", flush=True)


class Watched:
    """A client that says when it changes replica, and remembers how long it waited for answers."""

    def __init__(self, client: Client, name: str):
        self._client, self._name = client, name
        self.waits, self.inpaints = client.waits, client.inpaints
        self.waited_s: list[float] = []
        self.first_answer = Event()
        self._led_by: set[str] = set()

    @property
    def replica(self) -> str:
        """The one it is on."""
        return self._client.facts.policy.rsplit("@", 1)[1]

    def begin(self, observation: Observation) -> ActionChunk:
        """Ask for the first chunk."""
        return self._watch(self._client.begin, observation)

    def proceed(self, turn: Turn) -> ActionChunk:
        """Ask for the next."""
        return self._watch(self._client.proceed, turn)

    def _watch(self, ask, given) -> ActionChunk:
        replica, asked_s = self.replica, time.monotonic()
        chunk = ask(given)
        self.waited_s.append(time.monotonic() - asked_s)
        if self.replica != replica:
            say(f"{self._name}: replica {replica} is gone, {self.replica} answers; does what is decided, then holds")
        if len(chunk.actions) and self.replica not in self._led_by:
            say(f"{self._name}: moves, led by replica {self.replica}")
            self._led_by.add(self.replica)
        self.first_answer.set()
        return chunk


def drive_one(number: int, watched: dict[int, Watched]) -> tuple[DriveReport, bool]:
    """Drive a robot through an episode; return the report, and whether it did what it was to do."""
    steps = round(50 * arguments.seconds)
    env = BimanualEnv(arguments.task, cameras=("top",), image_size=128, max_steps=steps)  # in the thread that draws
    robot = SimulatedRobot(env, seed=1_000_000 + number, control_hz=50.0)
    address = f"127.0.0.1:{arguments.port}"
    with Client(address, robot.instruction, seed=number, read_state=lambda: robot.state) as client:
        watched[number] = Watched(client, f"robot {number}")
        facts, clock = client.facts, RealClock()
        config = facts.control_config(
            watchdog_s=30.0
        )  # a robot that stands still for a while is what is to be seen here
        worker = ThreadWorker(clock)
        report = drive(robot, watched[number], config, clock=clock, worker=worker, standstill=robot.state)
    success = bool(robot.info["success"])
    env.close()
    return report, success


def kill(replica: str) -> None:
    """End the replica's process as a failure would: at once."""
    actors = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]
    (actor,) = [name for name in actors if name.startswith("SERVE_REPLICA") and name.endswith(replica)]
    ray.kill(ray.get_actor(actor, namespace="serve"))


def main() -> None:
    """Serve, drive, kill, tell."""
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port}, proxy_location="HeadOnly")
    try:
        say("Ray is up; loading the policy twice")
        served = Arguments(
            policy=arguments.policy, schedule=arguments.schedule, num_replicas=2, num_cpus=0.5, drain_s=1.0
        )
        serve.run(app(served), route_prefix="/")
        say(f"two replicas serve {arguments.policy} on port {arguments.port}")
        watched: dict[int, Watched] = {}
        with ThreadPoolExecutor(arguments.robots) as pool:
            driven = [pool.submit(drive_one, number, watched) for number in range(arguments.robots)]
            while len(watched) < arguments.robots and not any(each.done() for each in driven):
                time.sleep(0.05)
            watched[0].first_answer.wait(60)
            time.sleep(arguments.kill_after_s)
            victim = watched[0].replica
            kill(victim)
            say(f"replica {victim} is killed")
            for number, each in enumerate(driven):
                report, success = each.result()
                say(
                    f"robot {number}: {'done' if success else 'time is up'}; {len(report.executed)} actions; "
                    f"{report.num_turns} turns, {report.num_late_chunks} late; stood still for {report.idle_share:.0%} "
                    f"of the time; longest wait for an answer {max(watched[number].waited_s):.2f} s"
                )
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
