"""Demonstrations: simulate first, keep the successes, then take their pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64

from foreact.errors import ConfigurationError
from foreact.simulation.disturbances import UNDISTURBED, Disturbance, Event
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.experts import Expert, make_expert
from foreact.simulation.noise import CorrelatedNoise
from foreact.simulation.rendering import CAMERAS

NOISE_SCALE_RAD = 0.02
HOLD_STEPS = 20
"""Steps an episode goes on after success, so that it shows what was achieved."""


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One episode of an expert; row t is the observation at step t and the action that followed it."""

    task: str
    """The task's name."""
    seed: int
    """Seed of the environment, its disturbance and the noise."""
    success: bool
    """Whether the final condition was met."""
    progress: float
    """Stages achieved over stages, in [0, 1]."""
    instruction: str
    """What the robot was told."""
    actions: Float32[np.ndarray, "rows 14"]
    """The expert's labels."""
    executed_actions: Float32[np.ndarray, "rows 14"]
    """What was executed: the labels and the noise."""
    states: Float32[np.ndarray, "rows 14"]
    """Measured joint positions, before the action of the row."""
    positions: Float64[np.ndarray, "rows positions"] = field(repr=False)
    """All of the simulation's positions (`World.positions`), before the action of the row."""
    disturbance: Disturbance = UNDISTURBED
    """What could go wrong."""
    events: tuple[Event, ...] = ()
    """What did go wrong."""
    num_plans: int = 1
    """How often the expert planned: once, and once more for every surprise."""

    def render(
        self,
        env: BimanualEnv | None = None,
        *,
        cameras: Sequence[str] = CAMERAS,
        image_size: int = 128,
        stride: int = 1,
    ) -> Iterator[dict[str, np.ndarray]]:
        """The pictures of every `stride`-th row, uint8 [height, width, 3] a camera.

        Args:
            env: An environment of the same task and disturbance to use, with its cameras and size; its episode ends.
                None: one is made of the next two arguments, and closed at the end.
            cameras: Which cameras take pictures.
            image_size: Height and width in pixels.
            stride: Rows from picture to picture.

        Raises:
            ConfigurationError: The environment is of another task.
        """
        if env is not None and env.task.name != self.task:
            raise ConfigurationError("task of the environment", got=env.task.name, allowed=self.task)
        stage = env or BimanualEnv(self.task, cameras=cameras, image_size=image_size, disturbance=self.disturbance)
        try:
            stage.reset(seed=self.seed)
            for row in range(0, len(self.positions), stride):
                stage.recall(self.positions[row], row)
                yield stage.images()
        finally:
            if env is None:
                stage.close()


def rollout_expert(
    task: str,
    seed: int,
    noise_scale_rad: float = NOISE_SCALE_RAD,
    *,
    env: BimanualEnv | None = None,
    miss_probability: float = 0.0,
) -> Demonstration:
    """An expert's episode, without pictures.

    Args:
        task: The task's name.
        seed: Seed of the environment and of the noise.
        noise_scale_rad: Standard deviation of the noise on what is executed; 0 for none.
        env: An environment of the same task to use, with its disturbance; its episode ends. None: one without
            disturbance is made.
        miss_probability: Of the first grasp being aimed next to the cube.

    Raises:
        ConfigurationError: The environment is of another task.
    """
    if env is not None and env.task.name != task:
        raise ConfigurationError("task of the environment", got=env.task.name, allowed=task)
    env = env or BimanualEnv(task)
    env.reset(seed=seed)
    noise = CorrelatedNoise(np.random.default_rng([seed, 1]), noise_scale_rad)
    expert = make_expert(env, miss_probability=miss_probability)
    rows, info = _run(env, expert, noise)
    states, positions, actions, executed = (np.stack(column) for column in zip(*rows, strict=True))
    return Demonstration(
        task=task,
        seed=seed,
        success=info["success"],
        progress=info["progress"],
        instruction=env.instruction,
        actions=actions,
        executed_actions=executed,
        states=states,
        positions=positions,
        disturbance=env.disturbance,
        events=tuple(env.events),
        num_plans=expert.num_plans,
    )


def _run(env: BimanualEnv, expert: Expert, noise: CorrelatedNoise) -> tuple[list[tuple[np.ndarray, ...]], dict]:
    """All rows, until a while after success or the time limit."""
    rows, num_steps_left = [], env.max_steps
    while num_steps_left > 0:
        label = expert.act()
        executed = label + noise.sample(expert.slack)
        rows.append((env.state(), env.world.positions(), label, executed))
        _, _, success, truncated, info = env.step(executed)
        num_steps_left = min(num_steps_left - 1, HOLD_STEPS) if success else num_steps_left - 1
        if truncated:
            break
    return rows, info
