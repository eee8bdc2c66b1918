"""What a simulated world offers: gymnasium's calls, and what an evaluation has to know about it."""

from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np


@runtime_checkable
class Environment(Protocol):
    """One task of one simulator, for one robot. Pictures are taken only when `images` is called.

    `reset` and `step` are gymnasium's. The `info` that both return has three entries that evaluations read:

    - `is_success` (bool): whether the task is done; it decides the success rate;
    - `progress` (float): how much of the task was done so far, 0 to 1;
    - `stage` (str): what the robot is at, in words.
    """

    action_space: Any
    """A `gymnasium.spaces.Box` [dofs]: what `step` takes, in the order and units of the robot's file."""

    @property
    def suite(self) -> str:
        """Name of the collection that the task belongs to, for example "aloha"."""
        ...

    @property
    def task_name(self) -> str:
        """Name of the task within its suite."""
        ...

    @property
    def instruction(self) -> str:
        """What the robot is told in this episode, in words."""
        ...

    @property
    def control_hz(self) -> float:
        """Actions per second of simulated time."""
        ...

    @property
    def max_steps(self) -> int:
        """Control steps after which an episode is cut off."""
        ...

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that take pictures."""
        ...

    @property
    def num_starts(self) -> int | None:
        """How many different starts there are; None: as many as there are seeds."""
        ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of a seed; the same seed begins the same one. Returns (observation, info)."""
        ...

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Execute one action [dofs]. Returns (observation, reward, terminated, truncated, info)."""
        ...

    def state(self) -> np.ndarray:
        """float32 [state entries], in the order and units of the robot's file."""
        ...

    def images(self) -> dict[str, np.ndarray]:
        """What each camera sees now, uint8 [height, width, 3]."""
        ...

    def close(self) -> None:
        """Free the renderer; call it in the thread that took the pictures."""
        ...


class World(gymnasium.Env):
    """What adapters of other people's simulators share: the time limit, and the three entries of info.

    A subclass implements `_reset`, `_step`, `state` and `images`.
    """

    suite: str = ""
    task_name: str = ""
    instruction: str = ""
    control_hz: float = 0.0
    max_steps: int = 0
    cameras: tuple[str, ...] = ()
    num_starts: int | None = None
    num_steps: int = 0
    """Control steps since the last reset."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the episode of a seed; the same seed begins the same one. Returns (observation, info)."""
        super().reset(seed=seed)
        self._reset(int(self.np_random.integers(2**31)) if seed is None else seed)
        self.num_steps = 0
        return {"agent_pos": self.state()}, self._info(False, 0.0)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Execute one action [dofs]. Returns (observation, reward, terminated, truncated, info)."""
        reward, success, progress = self._step(np.asarray(action, dtype=np.float64))
        self.num_steps += 1
        info = self._info(success, 1.0 if success else progress)
        return {"agent_pos": self.state()}, reward, success, self.num_steps >= self.max_steps, info

    def _info(self, success: bool, progress: float) -> dict[str, Any]:
        return {"is_success": success, "progress": progress, "stage": "done" if success else "under way"}

    def _reset(self, seed: int) -> None:
        """Place everything as the seed says."""
        raise NotImplementedError

    def _step(self, action: np.ndarray) -> tuple[float, bool, float]:
        """Execute one action; return the reward, whether the task is done, and the progress from 0 to 1."""
        raise NotImplementedError

    def state(self) -> np.ndarray:
        """float32 [state entries]."""
        raise NotImplementedError

    def images(self) -> dict[str, np.ndarray]:
        """What each camera sees now, uint8 [height, width, 3]."""
        raise NotImplementedError
