"""A simulated robot, as the control loop wants one."""

from collections.abc import Mapping

import numpy as np

from foreact.environments.environment import Environment
from foreact.types import Observation


class SimulatedRobot:
    """One episode of a simulated task."""

    def __init__(self, env: Environment, *, seed: int, control_hz: float):
        """Reset the environment to the episode of that seed."""
        self._env, self._control_hz = env, control_hz
        _, self.info = env.reset(seed=seed)
        self.num_steps = 0
        self.done = False
        self.pictures: list[Mapping[str, np.ndarray]] = []
        """Everything the cameras took, uint8 [height, width, 3] per camera."""
        self.picture_steps: list[int] = []
        """Control steps that had passed when each was taken."""
        self.commands: list[np.ndarray] = []
        """What it was told at every control step, float32 [num_dofs]."""

    @property
    def instruction(self) -> str:
        """What the robot is to do."""
        return self._env.instruction

    @property
    def state(self) -> np.ndarray:
        """Where its joints are, float32 [num_dofs]."""
        return self._env.state()

    def observe(self) -> Observation:
        """Take a picture with every camera and read the joints."""
        images = self._take()
        self.pictures.append(images)
        self.picture_steps.append(self.num_steps)
        return Observation(images=images, state=self.state, time_s=self.num_steps / self._control_hz)

    def act(self, action: np.ndarray) -> None:
        """Execute one action; the episode is over on success or when the time is up."""
        _, _, terminated, truncated, self.info = self._env.step(action)
        self.commands.append(action)
        self.num_steps += 1
        self.done = terminated or truncated

    def _take(self) -> Mapping[str, np.ndarray]:
        return self._env.images()
