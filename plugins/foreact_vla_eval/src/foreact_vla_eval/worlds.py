"""foreact's worlds as a benchmark of vla-eval."""

from typing import Any

import numpy as np
from foreact.environments import find, make_environment
from foreact.evaluation.suite import FIRST_HELD_OUT_SEED
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import DimSpec


class ForeactWorlds(StepBenchmark):
    """Worlds by name, as `foreact evaluate --env` knows them; episode n has seed 1,000,000 + n."""

    def __init__(self, worlds: list[str], cameras: list[str] | None = None, image_size: int | None = None):
        """Build the first world; nothing is rendered yet."""
        super().__init__()
        self._worlds, self._given = worlds, {"cameras": cameras, "image_size": image_size}
        self._name, self._env = worlds[0], make_environment(worlds[0], **self._given)

    def get_tasks(self) -> list[dict[str, Any]]:
        """Return one task a world."""
        return [{"name": name, "suite": find(name)[0].name} for name in self._worlds]

    def get_metadata(self) -> dict[str, Any]:
        """Return the longest time limit."""
        return {"max_steps": self._env.max_steps}

    def reset(self, task: dict[str, Any]) -> Any:
        """Begin the episode that vla-eval numbers."""
        if task["name"] != self._name:
            self._env.close()
            self._name, self._env = task["name"], make_environment(task["name"], **self._given)
        self._env.reset(seed=FIRST_HELD_OUT_SEED + int(task.get("episode_idx", 0)))
        return None

    def step(self, action: dict[str, Any]) -> StepResult:
        """Execute one action."""
        _, reward, terminated, truncated, info = self._env.step(np.asarray(action["actions"]))
        return StepResult(obs=None, reward=reward, done=terminated or truncated, info=info)

    def make_obs(self, raw_obs: Any, task: dict[str, Any]) -> dict[str, Any]:
        """Return what the cameras see, the state and the words."""
        state, words = self._env.state(), self._env.instruction
        return {"images": self._env.images(), "state": state, "task_description": words}

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        """Return whether the task was done, and how much of it."""
        info = step_result.info
        return {"success": bool(info.get("is_success")), "progress": float(info.get("progress", 0.0))}

    def get_action_spec(self) -> dict[str, DimSpec]:
        """Return what an action is: the robot's own numbers."""
        robot = find(self._name)[0].robot
        return {"actions": DimSpec("actions", int(self._env.action_space.shape[0]), f"foreact/{robot}")}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """Return what is seen: the robot's state."""
        self._env.reset(seed=0)
        return {"state": DimSpec("state", len(self._env.state()), f"foreact/{find(self._name)[0].robot}")}

    def cleanup(self) -> None:
        """Free the renderer."""
        self._env.close()
