from collections.abc import Callable

import gymnasium
import numpy as np
import pytest

from foreact.simulation.disturbances import UNDISTURBED
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.tasks import get_task


class ToyEnv(BimanualEnv):
    """A world without physics for the tiny robot: its joints go where they are told, its cameras show the step.

    Episodes of even seeds succeed at step 13, in the middle of the second chunk; the others end at step 20.
    """

    action_space = gymnasium.spaces.Box(-1.0, 2.0, (3,), np.float32)

    def __init__(self, task: str, *, cameras=("top", "wrist"), max_steps: int = 200, disturbance=UNDISTURBED):
        self.task = get_task(task)
        self.disturbance, self.max_steps = disturbance, max_steps
        self.resets: list[int] = []
        self.closed = False
        self._names = tuple(cameras)

    @property
    def cameras(self) -> tuple[str, ...]:
        return self._names

    @property
    def instruction(self) -> str:
        return "push it"

    def reset(self, *, seed=None, options=None):
        self.resets.append(seed)
        self.num_steps, self._seed = 0, seed
        self._joints = np.random.default_rng(seed).uniform(0.2, 0.8, 3).astype(np.float32)
        return {}, self._told()

    def step(self, action: np.ndarray):
        self._joints = np.asarray(action, np.float32)
        self.num_steps += 1
        info = self._told()
        return {}, 0.0, info["success"], self.num_steps >= 20, info

    def _told(self) -> dict:
        success = self._seed % 2 == 0 and self.num_steps >= 13
        progress = 1.0 if success else min(self.num_steps / 40, 0.5)
        return {"success": success, "is_success": success, "progress": progress, "stage": "done" if success else "push"}

    def state(self) -> np.ndarray:
        return self._joints

    def images(self) -> dict[str, np.ndarray]:
        shade = int(40 + 8 * self.num_steps + 60 * float(self._joints[0])) % 256
        return {camera: np.full((16, 8, 3), shade // (1 + n), np.uint8) for n, camera in enumerate(self._names)}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def toy_env() -> Callable[..., ToyEnv]:
    return lambda: ToyEnv("reach_cube")


@pytest.fixture
def toy_world(monkeypatch) -> list[ToyEnv]:
    """Evaluations run in toy environments; they are listed here as they are made."""
    made: list[ToyEnv] = []

    def make(*args, **settings) -> ToyEnv:
        made.append(ToyEnv(*args, **settings))
        return made[-1]

    monkeypatch.setattr("foreact.environments.aloha.BimanualEnv", make)
    return made
