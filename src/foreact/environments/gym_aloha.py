"""gym-aloha as it comes: TransferCube and Insertion with two ViperX arms at 50 Hz, seen from above.

The package renders a picture at every step; here pictures are taken only when asked for.
"""

from typing import Any

import numpy as np

from foreact.environments.environment import World
from foreact.environments.suites import Request, Suite

INSTRUCTIONS = {
    "AlohaTransferCube-v0": "Pick up the cube with the right arm and transfer it to the left arm.",
    "AlohaInsertion-v0": "Insert the peg into the socket.",
}
CAMERA = "top"
MAX_STEPS = 300
"""Where the registration says nothing."""
MOST_REWARD = 4.0
"""The reward of a task that is done; below it, one per stage."""


class GymAloha(World):
    """One of the two tasks; done as soon as the package's reward says so."""

    suite = "gym_aloha"
    control_hz = 50.0

    def __init__(self, task: str, request: Request):
        """Build the scene; nothing is rendered yet."""
        import gym_aloha  # noqa: F401  registers the tasks
        import gymnasium

        from foreact.environments.mujoco_pictures import ModelPictures

        self.task_name, self.instruction = task, INSTRUCTIONS[task]
        self.cameras = request.choose_cameras((CAMERA,))
        self._protocol = request.protocol
        made = gymnasium.make(f"gym_aloha/{task}", obs_type="pixels_agent_pos", disable_env_checker=True)
        self.max_steps = request.limit(task, (made.spec and made.spec.max_episode_steps) or MAX_STEPS)
        self._env: Any = made.unwrapped
        self.action_space, self.observation_space = self._env.action_space, self._env.observation_space
        # What would render at every step: the package reads these two entries of it and no others.
        simulated = self._env._env.task
        simulated.get_observation = lambda physics: {
            "qpos": simulated.get_qpos(physics),
            "images": {CAMERA: np.empty(0, np.uint8)},
        }
        size = request.image_size or request.protocol.image_size
        self._pictures = ModelPictures(
            self._env._env.physics.model.ptr, {CAMERA: CAMERA}, size, request.protocol.quality
        )
        self._state = np.zeros(0, np.float32)

    def _reset(self, seed: int) -> None:
        observation, _ = self._env.reset(seed=seed)
        self._state = observation["agent_pos"].astype(np.float32)

    def _step(self, action: np.ndarray) -> tuple[float, bool, float]:
        observation, reward, _, _, info = self._env.step(action)
        self._state = observation["agent_pos"].astype(np.float32)
        return float(reward), bool(info["is_success"]), float(reward) / MOST_REWARD

    def state(self) -> np.ndarray:
        """float32 [14]: measured joint angles in rad and gripper openings, left arm first."""
        return self._state

    def images(self) -> dict[str, np.ndarray]:
        """What the camera sees now, uint8 [height, width, 3]."""
        taken = self._pictures.take(self._env._env.physics.data.ptr)
        return {camera: self._protocol.turn(picture) for camera, picture in taken.items()}

    def close(self) -> None:
        """Free the renderer."""
        self._pictures.close()
        self._env.close()


SUITE = Suite(
    name="gym_aloha",
    make=GymAloha,
    tasks=lambda: tuple(INSTRUCTIONS),
    protocols=("gym_aloha-lerobot",),
    robot="aloha",
    packages=("gym-aloha", "mujoco", "dm-control", "gymnasium", "numpy"),
    extra="sim",
)
