"""Recording a suite's scripted experts as a LeRobot dataset, in other people's simulators."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foreact.data.latents import CAMERA_PREFIX
from foreact.data.recorder import DatasetWriter
from foreact.data.sequences import EXECUTED
from foreact.embodiments import Embodiment
from foreact.environments.check import make_world
from foreact.environments.environment import Environment
from foreact.environments.registry import find, protocol_of
from foreact.environments.suites import Suite
from foreact.errors import ConfigurationError, DatasetError, SimulationError, check_seed

HOLD_STEPS = 20
"""Steps an episode goes on after success, so that it shows what was achieved."""
MAX_FAILURES = 30
"""Failures in a row after which collecting gives up."""
NOISE_MEMORY = 0.9
"""Share of the noise that is left of it one control step later: a push that lasts, from which the way back shows."""


@dataclass(frozen=True, kw_only=True)
class WorldCollectionConfig:
    """What to record."""

    world: str
    """Name of the world, as `foreact.environments` knows it."""
    num_episodes: int = 50
    """Episodes that the dataset shall hold in the end, those already there included."""
    seed: int = 0
    """First seed tried; failures are skipped, so the last may lie beyond seed + num_episodes."""
    image_size: int = 128
    """Height and width of the recorded pictures, pixels."""
    noise_scale: float = 0.0
    """Standard deviation of the noise on what is executed, in the units of the robot's actions; grippers are
    left alone. The recorded labels stay the expert's."""
    protocol: str | None = None
    """How pictures are rendered and turned; None: the suite's own for demonstrations, or its first."""

    def __post_init__(self) -> None:
        suite, _ = find(self.world)
        if self.protocol is None:
            object.__setattr__(self, "protocol", suite.collection_protocol)
        protocol_of(suite, self.protocol)
        if suite.make_expert is None:
            raise ConfigurationError(
                f"expert in {self.world}",
                got="none",
                allowed="a suite with scripted experts, such as metaworld, or one of our own tasks",
                cure="record demonstrations with another program, as a LeRobot dataset",
            )
        if self.num_episodes < 1:
            raise ConfigurationError("num_episodes", got=self.num_episodes, allowed="1 or more")
        if self.image_size < 2 or self.image_size % 2:
            raise ConfigurationError("image_size", got=self.image_size, allowed="even, 2 or more")
        if not self.noise_scale >= 0:
            raise ConfigurationError("noise_scale", got=self.noise_scale, allowed="0 or more")
        check_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class _Episode:
    """Rows of one episode: the observation before each action, and the action."""

    success: bool
    states: np.ndarray
    actions: np.ndarray
    executed: np.ndarray
    pictures: dict[str, list[np.ndarray]]


def collect_in_world(config: WorldCollectionConfig, root: Path, embodiment: Embodiment) -> Iterator[int]:
    """Record episodes until the dataset holds as many as asked, yielding how many it holds after each.

    A picture is taken where the robot's timing wants one and repeated in the rows between. Carries on a dataset that an
    earlier, interrupted call left: episodes on disk are simulated again without pictures, to find the next seed.

    Raises:
        DatasetError: The dataset holds episodes of another task.
        ConfigurationError: The robot is not the one of the world.
        SimulationError: The expert fails again and again.
    """
    suite, _ = find(config.world)
    env = make_world(config.world, embodiment, image_size=config.image_size, protocol=config.protocol)
    names, size = list(embodiment.dof_names), (config.image_size, config.image_size)
    try:
        with DatasetWriter.create_or_resume(
            root,
            fps=round(embodiment.timing.action_hz),
            robot_type=embodiment.name,
            features={
                "observation.state": list(embodiment.state_names or names),
                "action": names,
                EXECUTED: names,
            },
            cameras={CAMERA_PREFIX + camera: size for camera in env.cameras},
        ) as writer:
            _check_task(root, writer.instructions, env.instruction)
            num_there = min(writer.num_episodes, config.num_episodes)
            for number, episode in enumerate(_successes(config, suite, env, embodiment, num_there)):
                if number >= num_there:
                    _record(writer, episode, env.instruction)
                    yield writer.num_episodes
                if number + 1 >= config.num_episodes:
                    return
    finally:
        env.close()


def _check_task(root: Path, recorded: tuple[str, ...], own: str) -> None:
    if others := [instruction for instruction in recorded if instruction != own]:
        cure = "record into a new folder: training takes several datasets"
        raise DatasetError(f"dataset {root}", got=f"episodes of {others[0]!r}", allowed=f"{own!r}", cure=cure)


def _successes(
    config: WorldCollectionConfig, suite: Suite, env: Environment, robot: Embodiment, num_unseen: int
) -> Iterator[_Episode]:
    """Yield the episodes that succeed, the first `num_unseen` of them without pictures."""
    failures, seed, found = 0, config.seed, 0
    while failures < MAX_FAILURES:
        episode = _run_expert(config, suite, env, robot, seed, pictures=found >= num_unseen)
        seed += 1
        failures = 0 if episode.success else failures + 1
        if episode.success:
            found += 1
            yield episode
    got, cure = f"{failures} failures in a row", "lower noise_scale, or check the simulator's version"
    raise SimulationError(f"expert in {config.world}", got=got, cure=cure)


def _run_expert(
    config: WorldCollectionConfig, suite: Suite, env: Environment, robot: Embodiment, seed: int, *, pictures: bool
) -> _Episode:
    """Run one episode of the expert, until a while after success or the time limit."""
    assert suite.make_expert is not None
    env.reset(seed=seed)
    expert = suite.make_expert(env)
    rng, noise = np.random.default_rng([seed, 1]), np.zeros(robot.num_dofs)
    free = np.ones(robot.num_dofs)
    free[[arm.gripper.entry for arm in robot.arms if arm.gripper is not None]] = 0.0
    fresh = config.noise_scale * np.sqrt(1 - NOISE_MEMORY**2) * free
    seen: dict[str, list[np.ndarray]] = {camera: [] for camera in env.cameras}
    rows, success, num_left = [], False, env.max_steps
    while num_left > 0:
        if pictures:
            due = len(rows) % robot.timing.camera_stride == 0
            images = env.images() if due else {camera: frames[-1] for camera, frames in seen.items()}
            for camera, frames in seen.items():
                frames.append(images[camera])
        label = expert.act()
        noise = NOISE_MEMORY * noise + fresh * rng.standard_normal(robot.num_dofs)
        executed = robot.clip_actions((label + noise).astype(np.float32))
        rows.append((env.state(), label, executed))
        _, _, done, truncated, _ = env.step(executed)
        num_left = min(num_left - 1, HOLD_STEPS) if done and not success else num_left - 1
        success = success or done
        if truncated:
            break
    states, actions, details = (np.stack(column).astype(np.float32) for column in zip(*rows, strict=True))
    return _Episode(success=success, states=states, actions=actions, executed=details, pictures=seen)


def _record(writer: DatasetWriter, episode: _Episode, instruction: str) -> None:
    writer.add_episode(
        columns={"observation.state": episode.states, "action": episode.actions, EXECUTED: episode.executed},
        videos={CAMERA_PREFIX + camera: frames for camera, frames in episode.pictures.items()},
        instruction=instruction,
    )
