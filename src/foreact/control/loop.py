"""The synchronous closed loop: predict a chunk, execute it, show the policy what really happened, repeat."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from foreact.control.robot import Robot
from foreact.errors import ConfigurationError
from foreact.types import ActionChunk


@runtime_checkable
class ChunkPolicy(Protocol):
    """What the loop asks of a policy; `foreact.policy.Policy` is one."""

    def start(self, instruction: str, *, seed: int = 0) -> Any:
        """Return a new session."""
        ...

    def observe_first(self, session: Any, images: Mapping[str, np.ndarray], state: np.ndarray) -> None:
        """Take in the first picture of every camera, uint8 [1, height, width, 3], and the robot's state."""
        ...

    def observe(self, session: Any, images: Mapping[str, np.ndarray], executed_actions: np.ndarray) -> None:
        """Take in the pictures since, and the actions executed meanwhile."""
        ...

    def believe(self, session: Any) -> None:
        """Take the last prediction for what happened."""
        ...

    def predict(self, session: Any) -> ActionChunk:
        """Return the next actions."""
        ...


@dataclass(frozen=True, kw_only=True)
class ExecutedChunk:
    """One turn of the loop, for whoever looks on."""

    index: int
    chunk: ActionChunk
    executed: np.ndarray
    """float32 [time, num_dofs]: as much of the chunk as was executed."""
    images: Mapping[str, np.ndarray]
    """What the cameras saw meanwhile, uint8 [time, height, width, 3] each."""
    whole: bool
    """False if the episode ended before the chunk did; the policy then did not observe it."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How the loop runs."""

    camera_stride: int
    """Actions per camera frame."""
    execution_horizon: int | None = None
    """Actions of each chunk that are executed before the next is predicted; None: all of them."""
    closed: bool = True
    """False runs open loop: after the first picture the policy sees only what it imagined."""

    def __post_init__(self) -> None:
        if not self.closed and self.execution_horizon is not None:
            raise ConfigurationError(
                "execution_horizon in open loop",
                got=self.execution_horizon,
                allowed="none: a policy that never looks believes whole chunks",
            )


def run_episode(
    robot: Robot,
    policy: ChunkPolicy,
    instruction: str,
    config: LoopConfig,
    *,
    seed: int = 0,
    on_start: Callable[[Any, Mapping[str, np.ndarray]], None] | None = None,
    on_chunk: Callable[[Any, ExecutedChunk], None] | None = None,
) -> int:
    """Run until the robot is done; return the number of actions executed.

    Args:
        robot: At its starting position.
        policy: Gives the actions.
        instruction: What to do, in words.
        config: How.
        seed: Of the policy's noise.
        on_start: Told the session and the first pictures.
        on_chunk: Told the session and each chunk after it was executed and observed.
    """
    session = policy.start(instruction, seed=seed)
    first = robot.observe()
    images = {camera: image[None] for camera, image in first.images.items()}
    policy.observe_first(session, images, first.state)
    if on_start:
        on_start(session, images)
    num_executed, index = 0, 0
    while not robot.done:
        chunk = policy.predict(session)
        actions = chunk.actions[: config.execution_horizon]
        executed, images = execute(robot, actions, config.camera_stride)
        num_executed += len(executed)
        whole = len(executed) == len(actions)
        if whole and config.closed:
            policy.observe(session, images, executed)
        elif whole:
            policy.believe(session)
        if on_chunk:
            turn = ExecutedChunk(index=index, chunk=chunk, executed=executed, images=images, whole=whole)
            on_chunk(session, turn)
        index += 1
    return num_executed


def execute(robot: Robot, actions: np.ndarray, camera_stride: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Execute actions until they or the episode end; return those executed, and the pictures taken on the way."""
    pictures: list[Mapping[str, np.ndarray]] = []
    num_executed = 0
    for action in actions:
        if robot.done:
            break
        robot.act(action)
        num_executed += 1
        if num_executed % camera_stride == 0:
            pictures.append(robot.observe().images)
    cameras = pictures[0] if pictures else {}
    return actions[:num_executed], {c: np.stack([p[c] for p in pictures]) for c in cameras}
