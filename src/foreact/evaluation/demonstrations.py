"""Recording an expert's successes as a LeRobot dataset."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foreact.data.latents import CAMERA_PREFIX
from foreact.data.recorder import DatasetWriter
from foreact.data.sequences import EXECUTED
from foreact.embodiments import Embodiment
from foreact.errors import ConfigurationError, DatasetError, SimulationError, check_seed
from foreact.simulation.demonstrations import NOISE_SCALE_RAD, Demonstration, rollout_expert
from foreact.simulation.disturbances import KINDS, UNDISTURBED, Disturbance
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.tasks import get_task

DISTURBED = "disturbance"
"""Column of what went wrong without the robot's doing."""
MISS_PROBABILITY = 0.2
"""Of a first grasp being aimed next to the cube, where anything may go wrong at all."""
MAX_FAILURES = 100
"""Failures in a row after which collecting gives up."""


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """What to record."""

    task: str
    """Name of the task."""
    num_episodes: int = 50
    """Episodes the dataset shall hold in the end, those already there included."""
    seed: int = 0
    """First seed tried; failures are skipped, so the last may lie beyond seed + num_episodes."""
    image_size: int = 128
    """Height and width of the recorded pictures, pixels."""
    noise_scale_rad: float = NOISE_SCALE_RAD
    """Standard deviation of the noise on what is executed; the recorded labels stay the expert's."""
    disturbance: Disturbance = UNDISTURBED
    """What goes wrong on the way."""
    cameras: tuple[str, ...] | None = None
    """Which of the robot's cameras are recorded; None: all."""

    def __post_init__(self) -> None:
        get_task(self.task)
        if self.num_episodes < 1:
            raise ConfigurationError("num_episodes", got=self.num_episodes, allowed="1 or more")
        if self.image_size < 2 or self.image_size % 2:
            raise ConfigurationError("image_size", got=self.image_size, allowed="even, 2 or more")
        check_seed(self.seed)


def collect(config: CollectionConfig, root: Path, embodiment: Embodiment) -> Iterator[int]:
    """Record episodes until the dataset holds as many as asked, yielding how many it holds after each.

    Carries on a dataset that an earlier, interrupted call left: episodes on disk are simulated again (without pictures,
    which costs little) only to find the seed to go on with.

    Raises:
        DatasetError: The dataset holds episodes of another task.
    """
    env = BimanualEnv(
        config.task,
        cameras=config.cameras or embodiment.cameras,
        image_size=config.image_size,
        disturbance=config.disturbance,
    )
    names = list(embodiment.dof_names)
    size = (config.image_size, config.image_size)
    try:
        with DatasetWriter.create_or_resume(
            root,
            fps=round(embodiment.timing.action_hz),
            robot_type=embodiment.name,
            features={"observation.state": names, "action": names, EXECUTED: names, DISTURBED: list(KINDS)},
            cameras={CAMERA_PREFIX + camera: size for camera in env.cameras},
        ) as writer:
            _check_task(root, writer.instructions, config.task)
            successes = _successes(config, env)
            for _ in range(min(writer.num_episodes, config.num_episodes)):
                next(successes)
            while writer.num_episodes < config.num_episodes:
                _record(writer, next(successes), env)
                yield writer.num_episodes
    finally:
        env.close()


def _check_task(root: Path, recorded: tuple[str, ...], task: str) -> None:
    own = get_task(task).instruction
    if others := [instruction for instruction in recorded if instruction != own]:
        allowed, cure = f"{own!r}, those of {task}", "record into a new folder: training takes several datasets"
        raise DatasetError(f"dataset {root}", got=f"episodes of {others[0]!r}", allowed=allowed, cure=cure)


def _successes(config: CollectionConfig, env: BimanualEnv) -> Iterator[Demonstration]:
    failures, seed = 0, config.seed
    while failures < MAX_FAILURES:
        miss = 0.0 if config.disturbance.is_none else MISS_PROBABILITY
        demonstration = rollout_expert(config.task, seed, config.noise_scale_rad, env=env, miss_probability=miss)
        seed += 1
        failures = 0 if demonstration.success else failures + 1
        if demonstration.success:
            yield demonstration
    raise SimulationError(
        f"expert of {config.task}",
        got=f"{failures} failures in a row",
        cure="lower noise_scale_rad, or check that the pinned MuJoCo version is installed",
    )


def _record(writer: DatasetWriter, demonstration: Demonstration, env: BimanualEnv) -> None:
    pictures: dict[str, list[np.ndarray]] = {camera: [] for camera in env.cameras}
    for images in demonstration.render(env):
        for camera, image in images.items():
            pictures[camera].append(image)
    writer.add_episode(
        columns={
            "observation.state": demonstration.states,
            "action": demonstration.actions,
            EXECUTED: demonstration.executed_actions,
            DISTURBED: _disturbed(demonstration),
        },
        videos={CAMERA_PREFIX + camera: frames for camera, frames in pictures.items()},
        instruction=demonstration.instruction,
    )


def _disturbed(demonstration: Demonstration) -> np.ndarray:
    """float32 [rows, kinds]: how much of each kind of disturbance began in a row, in m, N, or 1 for a slip."""
    table = np.zeros((len(demonstration.actions), len(KINDS)), np.float32)
    for event in demonstration.events:
        table[event.step, KINDS.index(event.kind)] = event.amount or 1.0
    return table
