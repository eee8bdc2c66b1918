"""Meta-World: fifty tasks of one Sawyer arm, at 80 Hz, each with a scripted expert (package `metaworld`).

Seen by the camera corner2 where LeRobot puts it, which hangs upside down: pictures are turned by half a turn.
"""

from typing import Any

import numpy as np

from foreact.environments.environment import World
from foreact.environments.suites import Request, Suite

CONTROL_HZ = 80.0
CAMERA = "corner2"
CAMERA_POSITION_M = (0.75, 0.075, 0.7)
"""Where LeRobot puts the camera, nearer to the table than Meta-World has it."""
NUM_AGENT_NUMBERS = 4
"""Of an observation: the hand's position in metres, and how far the fingers are apart (1 is 0.1 m)."""


class MetaWorld(World):
    """One task. An episode's seed draws where the objects and the goal are."""

    suite = "metaworld"
    control_hz = CONTROL_HZ

    def __init__(self, task: str, request: Request):
        """Build the task's scene; nothing is rendered yet."""
        from metaworld import MT1
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        from foreact.environments.mujoco_pictures import ModelPictures

        self.task_name = task
        self.instruction = instruction_of(task)
        self.cameras = request.choose_cameras((CAMERA,))
        self._protocol = request.protocol
        self._env: Any = ALL_V3_ENVIRONMENTS[task]()
        self._env.set_task(MT1(task, seed=0).train_tasks[0])
        # The task that was set hides the goal's position from observations; where things are is drawn by each reset.
        self._env._freeze_rand_vec, self._env.seeded_rand_vec = False, True
        self.action_space, self.observation_space = self._env.action_space, self._env.observation_space
        self.max_steps = request.limit(task, self._env.max_path_length)
        self._env.max_path_length = self.max_steps + 1  # the simulator raises where it thinks that time is up
        model = self._env.model
        model.cam_pos[model.camera(CAMERA).id] = CAMERA_POSITION_M
        size = request.image_size or request.protocol.image_size
        self._pictures = ModelPictures(model, {CAMERA: CAMERA}, size, request.protocol.quality)
        self.last_observation = np.zeros(0)
        """What Meta-World itself observes: [39] numbers, the objects' positions among them. Experts see it."""

    def _reset(self, seed: int) -> None:
        self._env.seed(seed)
        self.last_observation, _ = self._env.reset()

    def _step(self, action: np.ndarray) -> tuple[float, bool, float]:
        clipped = np.clip(action, -1.0, 1.0).astype(np.float32)
        self.last_observation, reward, _, _, info = self._env.step(clipped)
        return float(reward), bool(info["success"]), 0.0

    def state(self) -> np.ndarray:
        """float32 [4]: the hand's position in metres, and how far the fingers are apart (1 is 0.1 m)."""
        return self.last_observation[:NUM_AGENT_NUMBERS].astype(np.float32)

    def images(self) -> dict[str, np.ndarray]:
        """What the camera sees now, uint8 [height, width, 3]."""
        taken = self._pictures.take(self._env.data)
        return {camera: self._protocol.turn(picture) for camera, picture in taken.items()}

    def close(self) -> None:
        """Free the renderer."""
        self._pictures.close()


class MetaWorldExpert:
    """The scripted policy that Meta-World brings for a task."""

    def __init__(self, env: Any):
        """Begin an episode of that environment."""
        from metaworld.policies import ENV_POLICY_MAP

        self._env, self._policy = env, ENV_POLICY_MAP[env.task_name]()

    def act(self) -> np.ndarray:
        """Return the next action, float32 [4], within -1 to 1."""
        return np.clip(self._policy.get_action(self._env.last_observation), -1.0, 1.0).astype(np.float32)


def instruction_of(task: str) -> str:
    """Return the task's name in words: Meta-World itself has no language."""
    return task.removesuffix("-v3").replace("-", " ").capitalize() + "."


def task_names() -> tuple[str, ...]:
    """Return the names of the fifty tasks."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    return tuple(ALL_V3_ENVIRONMENTS)


SUITE = Suite(
    name="metaworld",
    make=MetaWorld,
    tasks=task_names,
    protocols=("metaworld-foreact", "metaworld-lerobot"),
    robot="sawyer",
    packages=("metaworld", "mujoco", "gymnasium", "numpy"),
    extra="metaworld",
    make_expert=MetaWorldExpert,
)
