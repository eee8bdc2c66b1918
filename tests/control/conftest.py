"""A robot and a controller that count, so that what was executed when can be read off the numbers."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from foreact.control.clock import Clock, VirtualClock
from foreact.control.config import ControlConfig
from foreact.control.controller import Turn
from foreact.control.drive import drive
from foreact.control.latency import constant
from foreact.control.report import DriveReport
from foreact.control.worker import VirtualWorker
from foreact.types import ActionChunk, Observation


class NumberedRobot:
    """Writes down what it is told; its camera shows how many actions were executed, after the last command's number."""

    def __init__(self, num_commands: int, clock: Clock | None = None):
        self.num_commands, self.clock = num_commands, clock or VirtualClock()
        self.commands: list[np.ndarray] = []
        self.times_s: list[float] = []
        self.num_pictures = 0

    @property
    def done(self) -> bool:
        return len(self.commands) >= self.num_commands

    def observe(self) -> Observation:
        self.num_pictures += 1
        count = int(self.commands[-1][0]) + 1 if self.commands else 0
        picture = np.full((1, 2, 3), count % 256, np.uint8)
        return Observation(images={"top": picture}, state=np.zeros(2, np.float32), time_s=0.0)

    def act(self, action: np.ndarray) -> None:
        assert not self.done
        assert action.dtype == np.float32
        self.commands.append(action.copy())
        self.times_s.append(self.clock.now())


class NumberedController:
    """Action k of chunk n is (k, n), k the policy tick; a prefix is repeated as it was given."""

    def __init__(
        self,
        config: ControlConfig,
        *,
        waits: bool = False,
        inpaints: bool = False,
        sees_first: Callable[[int], bool] = lambda _: False,
    ):
        self.config, self.waits, self.inpaints, self.sees_first = config, waits, inpaints, sees_first
        self.turns: list[Turn] = []
        self.tick = 0

    def begin(self, observation: Observation) -> ActionChunk:
        assert observation.images["top"].shape == (1, 2, 3)
        return self.chunk(0)

    def proceed(self, turn: Turn) -> ActionChunk:
        self.turns.append(turn)
        self.tick += len(turn.executed)
        if len(turn.under_way) + len(turn.prefix) and self.sees_first(len(self.turns)):
            return ActionChunk(actions=np.zeros((0, 2), np.float32))
        chunk = self.chunk(self.tick + len(turn.under_way))
        chunk.actions[: len(turn.prefix)] = turn.prefix
        return chunk

    def chunk(self, begin: int) -> ActionChunk:
        ticks = np.arange(begin, begin + self.config.actions_per_chunk, dtype=np.float32)
        return ActionChunk(actions=np.stack([ticks, np.full_like(ticks, len(self.turns))], axis=1))


class Doubles:
    """The doubles, and driving one with the other in virtual time."""

    Robot = NumberedRobot
    Controller = NumberedController

    def config(self, **changes) -> ControlConfig:
        """Chunks of 3 latent frames, each 4 actions and 2 camera frames."""
        few = {"camera_stride": 2, "actions_per_latent_frame": 4, "latent_frames_per_chunk": 3, "watchdog_s": None}
        return ControlConfig(**(few | changes))

    def run(
        self,
        config: ControlConfig,
        *,
        latencies_s: Iterator[float] | None = None,
        num_commands: int = 60,
        standstill: np.ndarray | None = None,
        on_chunk=None,
        **controller,
    ) -> tuple[DriveReport, NumberedController, NumberedRobot]:
        """Drive until the robot has had so many commands."""
        clock = VirtualClock()
        robot = NumberedRobot(num_commands, clock)
        brain = NumberedController(config, **controller)
        worker = VirtualWorker(clock, latencies_s or constant(0.0))
        report = drive(robot, brain, config, clock=clock, worker=worker, standstill=standstill, on_chunk=on_chunk)
        return report, brain, robot


@pytest.fixture(scope="session")
def doubles() -> Doubles:
    return Doubles()
