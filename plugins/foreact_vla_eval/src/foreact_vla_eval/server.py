"""A policy behind vla-eval's model-server interface: an observation a step, an action a step.

Start it with `python -m foreact_vla_eval.server --args.policy NAME --port 8000`.
"""

from typing import Any

import foreact
import numpy as np
from anyio.to_thread import run_sync
from vla_eval.model_servers.base import ModelServer, SessionContext
from vla_eval.model_servers.serve import run_server
from vla_eval.specs import DimSpec


class Episode:
    """One robot under one policy; chunks are asked for when their actions are used up."""

    def __init__(self, policy: foreact.Policy, cameras: dict[str, str], seed: int):
        """Begin with nothing seen."""
        self._policy, self._cameras, self._seed = policy, cameras, seed
        self._session: foreact.Session | None = None
        self._actions = np.zeros((0, policy.embodiment.num_dofs), np.float32)
        self._num_given = 0
        self._frames: list[dict[str, np.ndarray]] = []

    def act(self, observation: dict[str, Any]) -> np.ndarray:
        """Return the action [dofs] that follows on an observation."""
        policy, stride = self._policy, self._policy.embodiment.timing.camera_stride
        images = {camera: np.array(observation["images"][name]) for camera, name in self._cameras.items()}
        if self._session is None:
            self._session = policy.start(observation.get("task_description", ""), seed=self._seed)
            state = np.asarray(observation["state"], dtype=np.float32)
            policy.observe_first(self._session, {camera: image[None] for camera, image in images.items()}, state)
            self._actions = policy.predict(self._session).actions
        elif self._num_given % stride == 0:
            self._frames.append(images)
        if self._num_given == len(self._actions):
            clips = {camera: np.stack([frame[camera] for frame in self._frames]) for camera in images}
            policy.observe(self._session, clips, self._actions)
            self._actions, self._num_given, self._frames = policy.predict(self._session).actions, 0, []
        self._num_given += 1
        return self._actions[self._num_given - 1]


class ForeactModelServer(ModelServer):
    """Serves one policy; every session is a robot of its own."""

    def __init__(self, policy: str = "tiny", device: str = "cpu", cameras: dict[str, str] | None = None):
        """Load the policy.

        Args:
            policy: Name of a shipped policy, a folder, or "owner/name" on the hub.
            device: Where it computes.
            cameras: The policy's cameras, and what the benchmark calls them; None: the same.
        """
        self._policy = foreact.load(policy, device=device)
        self._cameras = {camera: (cameras or {}).get(camera, camera) for camera in self._policy.embodiment.cameras}
        self._episodes: dict[str, Episode] = {}
        self._num_episodes = 0

    async def on_episode_start(self, config: dict[str, Any], ctx: SessionContext) -> None:
        """Begin an episode; each gets noise of its own."""
        self._episodes[ctx.session_id] = Episode(self._policy, self._cameras, self._num_episodes)
        self._num_episodes += 1

    async def on_episode_end(self, result: dict[str, Any], ctx: SessionContext) -> None:
        """Give the episode's memory back."""
        self._episodes.pop(ctx.session_id, None)

    async def on_observation(self, obs: dict[str, Any], ctx: SessionContext) -> None:
        """Answer with one action."""
        action = await run_sync(self._episodes[ctx.session_id].act, obs)
        await ctx.send_action({"actions": action})

    def get_action_spec(self) -> dict[str, DimSpec]:
        """Return what an action is: the robot's own numbers."""
        robot = self._policy.embodiment
        return {"actions": DimSpec("actions", robot.num_dofs, f"foreact/{robot.name}")}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """Return what has to be seen: the robot's state."""
        robot = self._policy.embodiment
        return {"state": DimSpec("state", robot.num_state_entries, f"foreact/{robot.name}")}


if __name__ == "__main__":
    run_server(ForeactModelServer)
