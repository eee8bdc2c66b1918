"""Many episodes at once, one network: simulators in processes of their own, their chunks computed here in batches.

The processes are in two groups that take turns. While the simulators of one group run, the network computes the next
chunks of the other group as one batch. A batch waits for every episode of its group, so which episodes are computed
together never depends on how fast a process is: the same command gives the same results.
"""

import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
import torch.multiprocessing
from torch import Tensor

from foreact.control.clock import VirtualClock
from foreact.control.config import ControlConfig
from foreact.control.controller import Turn
from foreact.control.latency import constant
from foreact.control.worker import VirtualWorker
from foreact.errors import ConfigurationError, SimulationError
from foreact.evaluation.episodes import EpisodeResult, drive_episode, finish_record, start_record
from foreact.evaluation.robots import SimulatedRobot
from foreact.evaluation.workers import WorldSettings
from foreact.policy.controllers import ControlMode, PolicyController, control_config, proceed_together, with_room
from foreact.policy.policy import Policy
from foreact.serving.computing import nothing_happened
from foreact.types import ActionChunk, Observation

WAITING_MODES = ("synchronous", "open_loop")
"""Controllers under which the robot stands still while a chunk is computed."""
_JOIN_S = 10.0


@dataclass(frozen=True, kw_only=True)
class _Begin:
    """A process asks for the first chunk of an episode."""

    instruction: str
    seed: int
    observation: Observation


@dataclass(frozen=True, kw_only=True)
class _Encode:
    """A process asks for the latents of camera frames that the policy was not shown."""

    clips: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class _Failed:
    """A process could not go on."""

    text: str


@dataclass(frozen=True, kw_only=True)
class _EpisodeSettings:
    """How every process runs its episodes."""

    world: WorldSettings
    control: ControlConfig
    mode: ControlMode
    latency_s: float


def check_together(together: int, workers: int) -> None:
    """Refuse a number of episodes that cannot run at once.

    Raises:
        ConfigurationError: Less than one, or several beside several workers.
    """
    if together < 1:
        raise ConfigurationError("together", got=together, allowed="1 or more")
    if together > 1 and workers > 1:
        got = f"{together} episodes together and {workers} workers"
        cure = "workers have a network each, episodes together share one"
        raise ConfigurationError("episodes in several processes", got=got, allowed="one of the two", cure=cure)


def run_together(
    policy: Policy,
    world: WorldSettings,
    seeds: Sequence[int],
    *,
    together: int,
    mode: ControlMode,
    execution_horizon: int | None = None,
    latency_s: float = 0.0,
) -> Iterator[tuple[int, EpisodeResult]]:
    """Run the episodes of some seeds, several at once, yielding seed and result in the order of the seeds.

    Each result is that of `evaluate_episode` but for rounding, and for `stage_ms`, the times of a whole batch.

    Args:
        policy: Drives all robots.
        world: What each process builds for itself.
        seeds: Of the episodes; each is also the seed of the policy's noise.
        together: Processes, and episodes at once.
        mode: Which controller.
        execution_horizon: Latent frames of each chunk that are executed; None: all.
        latency_s: Seconds that each chunk is said to take; the simulated world goes on meanwhile.

    Raises:
        SimulationError: A process failed or ended.
    """
    control = control_config(policy, execution_horizon=execution_horizon)
    settings = _EpisodeSettings(world=world, control=control, mode=mode, latency_s=latency_s)
    shared = policy if mode in WAITING_MODES else with_room(policy)
    waiting, done = deque(seeds), {}
    simulators = [_Simulator(shared, settings) for _ in range(min(together, len(seeds)))]
    groups = [simulators[::2], simulators[1::2]]
    try:
        for simulator in simulators:
            simulator.begin(waiting.popleft())
        for seed in seeds:
            while seed not in done:
                for group in groups:
                    _advance(group, waiting, done)
            yield seed, done.pop(seed)
    finally:
        for simulator in simulators:
            simulator.close()


def _advance(group: "list[_Simulator]", waiting: deque[int], done: dict[int, EpisodeResult]) -> None:
    """Wait for a question of every episode of the group, and answer all of them; simulators without work leave it."""
    for simulator in list(group):
        while (asked := simulator.wait()) is not None:
            done[asked.seed] = asked
            if not waiting:
                group.remove(simulator)
                break
            simulator.begin(waiting.popleft())
    if group:
        chunks = proceed_together([each.controller for each in group], [each.turn for each in group])
        for simulator, chunk in zip(group, chunks, strict=True):
            simulator.answer(chunk)


class _Simulator:
    """One process with its simulator, and the controller of the episode that runs there."""

    def __init__(self, policy: Policy, settings: _EpisodeSettings):
        """Start the process."""
        context = torch.multiprocessing.get_context("spawn")
        self._policy, self._settings = policy, settings
        self._link, theirs = context.Pipe()
        self._process = context.Process(target=_simulate, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        self.controller: PolicyController
        """Of the episode that runs."""
        self.turn: Turn
        """What the process asks the next chunk for."""
        self._observed: list[Tensor] = []

    def begin(self, seed: int) -> None:
        """Have the process begin an episode."""
        self._send(seed)

    def wait(self) -> EpisodeResult | None:
        """Return None once a chunk is asked for, in `turn`, or the result of an episode that ended.

        Raises:
            SimulationError: The process failed or ended.
        """
        while True:
            try:
                asked = self._link.recv()
            except (EOFError, ConnectionError) as error:
                self._process.join(_JOIN_S)
                got = f"a process that ended with status {self._process.exitcode}"
                raise SimulationError(f"simulator of {self._settings.world.name}", got=got) from error
            if isinstance(asked, _Failed):
                raise SimulationError(f"simulator of {self._settings.world.name}", got=asked.text)
            if isinstance(asked, EpisodeResult):
                return asked
            if isinstance(asked, _Encode):
                self._send(self._policy.encode_frames(self.controller.session, asked.clips).cpu().numpy())
                continue
            if isinstance(asked, _Begin):
                self._start(asked)
            else:
                self.turn = asked
            return None

    def answer(self, chunk: ActionChunk) -> None:
        """Send a chunk, and the latents of what was observed for it."""
        self._send((chunk, [latents.cpu().numpy() for latents in self._observed]))
        self._observed.clear()

    def close(self) -> None:
        """End the process."""
        self._link.close()  # it ends where it reads next
        self._process.join(_JOIN_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _start(self, asked: _Begin) -> None:
        """Take in the first pictures; a turn in which nothing happened then asks for the first chunk."""
        self.controller = PolicyController(
            self._policy,
            asked.instruction,
            mode=self._settings.mode,
            seed=asked.seed,
            on_observed=self._observed.append,
        )
        self.controller.observe_first(asked.observation)
        self.turn = nothing_happened(self._policy)

    def _send(self, message: Any) -> None:
        with suppress(ConnectionError):  # the process has ended, and the next `wait` says so
            self._link.send(message)


class _RemoteController:
    """The controller of an episode whose policy is in another process."""

    def __init__(self, link: Connection, mode: ControlMode, instruction: str, seed: int, observed: list[Tensor]):
        """Ask nothing yet.

        Args:
            link: To the process with the policy.
            mode: Which controller it is.
            instruction: What to do, in words.
            seed: Of the policy's noise.
            observed: Gets the latents of what the policy was shown, [channels, frames, height, width] each.
        """
        self._link, self._instruction, self._seed, self._observed = link, instruction, seed, observed
        self.waits, self.inpaints = mode in WAITING_MODES, mode == "prefixed"

    def begin(self, observation: Observation) -> ActionChunk:
        """Return the first chunk."""
        return self._ask(_Begin(instruction=self._instruction, seed=self._seed, observation=observation))

    def proceed(self, turn: Turn) -> ActionChunk:
        """Return the next chunk."""
        return self._ask(turn)

    def encode(self, clips: Mapping[str, np.ndarray]) -> Tensor:
        """Return the latents of camera frames that the policy was not shown."""
        self._link.send(_Encode(clips=clips))
        return torch.from_numpy(self._link.recv())

    def _ask(self, given: _Begin | Turn) -> ActionChunk:
        self._link.send(given)
        chunk, observed = self._link.recv()
        self._observed += map(torch.from_numpy, observed)
        return chunk


def _simulate(link: Connection, settings: _EpisodeSettings) -> None:
    """What a process does: run the episode of every seed that it reads, until the link is closed."""
    torch.set_num_threads(1)
    env = None
    try:
        env = settings.world.make()
        while True:
            link.send(_run_episode(link, settings, env, link.recv()))
    except (EOFError, ConnectionError):
        return  # nothing more is wanted
    except Exception:
        link.send(_Failed(text=traceback.format_exc()))
    finally:
        if env is not None:
            env.close()


def _run_episode(link: Connection, settings: _EpisodeSettings, env: Any, seed: int) -> EpisodeResult:
    """Run one episode as `evaluate_episode` does."""
    robot_file, clock = settings.world.robot, VirtualClock()
    robot = SimulatedRobot(env, seed=seed, control_hz=robot_file.timing.action_hz)
    record = start_record(robot, robot_file.timing)
    controller = _RemoteController(link, settings.mode, robot.instruction, seed, record.seen)
    worker = VirtualWorker(clock, constant(settings.latency_s))
    report = drive_episode(
        controller, robot, robot_file, settings.control, record, clock=clock, worker=worker, on_chunk=None
    )
    result, _ = finish_record(robot_file.timing, controller.encode, robot, report, record, seed)
    return result
