"""Any environment that is registered with gymnasium and follows LeRobot's conventions: `gym:PACKAGE/ID`.

Observations are maps with `pixels` (a picture, or one per camera) and `agent_pos` (the robot's state). Actions are
vectors, and `info["is_success"]` says whether the task is done. For example `gym:gym_pusht/PushT-v0`. Such an
environment renders at every step, whether or not the picture is looked at.
"""

import re
from importlib import import_module
from typing import Any

import numpy as np

from foreact.environments.environment import World
from foreact.environments.suites import Request, Suite
from foreact.errors import ConfigurationError, SimulationError

MAX_STEPS = 300
"""Where the registration says nothing."""
LONE_CAMERA = "image"
"""Name of the only camera, where an environment gives it none."""


class RegisteredWorld(World):
    """One registered environment."""

    suite = "gym"

    def __init__(self, name: str, request: Request):
        """Import the package and make its environment.

        Raises:
            ConfigurationError: The name has another form, or the environment cannot be made like this.
            ModuleNotFoundError: There is no such package.
        """
        import gymnasium

        package, _, identity = name.partition("/")
        if not package.isidentifier() or not identity:
            raise ConfigurationError("environment", got=f"gym:{name}", allowed="gym:PACKAGE/ID")
        import_module(package)
        size = request.image_size or request.protocol.image_size
        sizes = {"observation_width": size, "observation_height": size}
        try:
            made = gymnasium.make(
                name, obs_type="pixels_agent_pos", render_mode="rgb_array", disable_env_checker=True, **sizes
            )
        except (gymnasium.error.Error, TypeError) as error:
            allowed = "an environment that takes obs_type, observation_width and observation_height, as LeRobot's do"
            raise ConfigurationError(f"gym:{name}", got=error, allowed=allowed) from error
        self.task_name = name
        self._env: Any = made.unwrapped
        self.action_space, self.observation_space = self._env.action_space, self._env.observation_space
        self.control_hz = float(self._env.metadata["render_fps"])
        self.max_steps = request.limit(name, (made.spec and made.spec.max_episode_steps) or MAX_STEPS)
        self.instruction = getattr(self._env, "task_description", None) or _in_words(identity)
        pixels = getattr(self.observation_space, "spaces", {}).get("pixels")
        self.cameras = request.choose_cameras(tuple(getattr(pixels, "spaces", (LONE_CAMERA,))))
        self._protocol, self._seen = request.protocol, {}

    def _reset(self, seed: int) -> None:
        self._seen, _ = self._env.reset(seed=seed)

    def _step(self, action: np.ndarray) -> tuple[float, bool, float]:
        self._seen, reward, _, _, info = self._env.step(action)
        if "is_success" not in info:
            raise SimulationError(f"gym:{self.task_name}", got="no is_success in info", allowed="LeRobot's conventions")
        return float(reward), bool(info["is_success"]), float(np.clip(reward, 0.0, 1.0))

    def state(self) -> np.ndarray:
        """float32 [state entries], in the environment's own units."""
        return np.asarray(self._seen["agent_pos"], dtype=np.float32)

    def images(self) -> dict[str, np.ndarray]:
        """What each camera saw after the last step, uint8 [height, width, 3]."""
        pixels = self._seen["pixels"]
        named = pixels if isinstance(pixels, dict) else {LONE_CAMERA: pixels}
        return {camera: self._protocol.turn(named[camera]) for camera in self.cameras}

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def _in_words(identity: str) -> str:
    """Return a name such as PushT-v0 in words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", identity.partition("-v")[0]).capitalize() + "."


class _AnyName(tuple):
    """Whatever is registered: the package says what it has."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return True


SUITE = Suite(
    name="gym",
    make=RegisteredWorld,
    tasks=_AnyName,
    protocols=("gym-registered",),
    robot=None,
    packages=("gymnasium", "numpy"),
)
