import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from foreact.control.loop import ChunkPolicy, ExecutedChunk, LoopConfig, execute, run_episode
from foreact.control.robot import Robot
from foreact.errors import ConfigurationError
from foreact.types import ActionChunk, Observation


class CountingRobot:
    """Its camera shows the number of actions executed; its joint is where the last action sent it."""

    def __init__(self, num_steps: int):
        self.num_steps, self.taken, self.executed = num_steps, 0, []

    @property
    def done(self) -> bool:
        return len(self.executed) >= self.num_steps

    def observe(self) -> Observation:
        self.taken += 1
        picture = np.full((2, 2, 3), len(self.executed), np.uint8)
        joint = self.executed[-1] if self.executed else np.zeros(1, np.float32)
        return Observation(images={"top": picture}, state=joint, time_s=len(self.executed) / 50)

    def act(self, action: np.ndarray) -> None:
        assert not self.done
        self.executed.append(action)


class NumberingPolicy:
    """Chunk n holds the numbers 8 n, 8 n + 1, ...; writes down what it is told."""

    def __init__(self, actions_per_chunk: int = 8):
        self.log: list[tuple] = []
        self._size, self._next = actions_per_chunk, 0

    def start(self, instruction: str, *, seed: int = 0) -> Any:
        self.log.append(("start", instruction, seed))
        return "session"

    def observe_first(self, session, images, state) -> None:
        self.log.append(("observe_first", images["top"].shape, state.tolist()))

    def observe(self, session, images, executed_actions) -> None:
        seen = images["top"][:, 0, 0, 0].tolist() if images else []
        self.log.append(("observe", seen, executed_actions[:, 0].tolist()))

    def believe(self, session) -> None:
        self.log.append(("believe",))

    def predict(self, session) -> ActionChunk:
        self.log.append(("predict",))
        numbers = np.arange(self._next, self._next + self._size, dtype=np.float32)
        self._next += self._size
        return ActionChunk(actions=numbers[:, None])


def test_the_doubles_are_what_the_loop_asks_for() -> None:
    assert isinstance(CountingRobot(1), Robot)
    assert isinstance(NumberingPolicy(), ChunkPolicy)


def test_order_of_a_closed_loop() -> None:
    robot, policy = CountingRobot(16), NumberingPolicy()
    assert run_episode(robot, policy, "push", LoopConfig(camera_stride=4), seed=3) == 16
    assert policy.log == [
        ("start", "push", 3),
        ("observe_first", (1, 2, 2, 3), [0.0]),
        ("predict",),
        ("observe", [4, 8], [0, 1, 2, 3, 4, 5, 6, 7]),
        ("predict",),
        ("observe", [12, 16], [8, 9, 10, 11, 12, 13, 14, 15]),
    ]
    assert [action.item() for action in robot.executed] == list(range(16))
    assert robot.taken == 1 + 4


def test_a_chunk_cut_short_is_not_observed() -> None:
    robot, policy, turns = CountingRobot(13), NumberingPolicy(), []
    config = LoopConfig(camera_stride=4)
    assert run_episode(robot, policy, "push", config, on_chunk=lambda _, turn: turns.append(turn)) == 13
    assert [entry[0] for entry in policy.log] == ["start", "observe_first", "predict", "observe", "predict"]
    assert [(turn.index, turn.whole, len(turn.executed)) for turn in turns] == [(0, True, 8), (1, False, 5)]
    assert turns[1].images["top"][:, 0, 0, 0].tolist() == [12]
    assert turns[1].chunk.actions[:, 0].tolist() == [8, 9, 10, 11, 12, 13, 14, 15]


def test_execution_horizon_executes_the_beginning_of_each_chunk() -> None:
    robot, policy = CountingRobot(8), NumberingPolicy()
    run_episode(robot, policy, "push", LoopConfig(camera_stride=2, execution_horizon=4))
    assert [entry for entry in policy.log if entry[0] == "observe"] == [
        ("observe", [2, 4], [0, 1, 2, 3]),
        ("observe", [6, 8], [8, 9, 10, 11]),
    ]


def test_open_loop_believes_and_never_observes() -> None:
    robot, policy = CountingRobot(20), NumberingPolicy()
    run_episode(robot, policy, "push", LoopConfig(camera_stride=4, closed=False))
    names = [entry[0] for entry in policy.log]
    assert names == [
        "start",
        "observe_first",
        "predict",
        "believe",
        "predict",
        "believe",
        "predict",
    ]


def test_open_loop_with_an_execution_horizon_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="open loop"):
        LoopConfig(camera_stride=4, execution_horizon=4, closed=False)


def test_onlookers_are_told_after_the_policy() -> None:
    robot, policy, told = CountingRobot(8), NumberingPolicy(), []

    def on_start(session, images) -> None:
        told.append(("start", session, images["top"].shape, len(policy.log)))

    def on_chunk(session, turn: ExecutedChunk) -> None:
        told.append(("chunk", session, turn.executed.shape, len(policy.log)))

    run_episode(robot, policy, "push", LoopConfig(camera_stride=4), on_start=on_start, on_chunk=on_chunk)
    assert told == [("start", "session", (1, 2, 2, 3), 2), ("chunk", "session", (8, 1), 4)]


def test_nothing_happens_once_it_is_done() -> None:
    robot, policy = CountingRobot(0), NumberingPolicy()
    assert run_episode(robot, policy, "push", LoopConfig(camera_stride=4)) == 0
    assert ("predict",) not in policy.log


def test_pictures_are_taken_every_stride_only() -> None:
    robot = CountingRobot(100)
    executed, images = execute(robot, np.zeros((7, 1), np.float32), 3)
    assert len(executed) == 7 and robot.taken == 2
    assert images["top"][:, 0, 0, 0].tolist() == [3, 6]
    executed, images = execute(robot, np.zeros((2, 1), np.float32), 3)
    assert images == {}


def test_the_robots_side_has_no_torch() -> None:
    code = "import sys, foreact.control.loop, foreact.control.robot; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
