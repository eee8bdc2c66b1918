"""The three messages of the released LingBot-VA server, so that its LIBERO and RoboTwin clients work unchanged.

    {"reset": True, "prompt": words}                                begins an episode; answered by {}
    {"obs": pictures by camera, "prompt": words}                    asks for a chunk; answered by {"action": ...}
    {"obs": list of pictures, "compute_kv_cache": True, "state": ...}   what was seen meanwhile; answered by {}

Cameras are named "observation.images.NAME". An action is [entries, latent frames, actions per latent frame]. Clients
pass over the first latent frame of an episode's first chunk, which stands for what led to the first picture. They send
every action back as `state`, with one picture for every few actions. Robots whose actions are relative to their first
pose get relative ones, as from the release: the client adds the pose.

Source: github.com/Robbyant/lingbot-va, wan_va/wan_va_server.py and evaluation/.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from foreact.control.packing import pack, unpack
from foreact.control.protocol import RefusalError, describe
from foreact.errors import InputError
from foreact.serving.computing import refusal
from foreact.serving.dialects.dialect import Episode, first_state, picture
from foreact.serving.host import Host

CAMERA_PREFIX = "observation.images."
STATE = "observation.state"
"""What our own clients may add, for policies that have to know the robot's posture."""


class LingBotConversation:
    """One connection; its episodes follow each other."""

    def __init__(self, host: Host):
        """Begin no episode yet."""
        self._host, self._robot = host, host.policy.embodiment
        self.greeting: bytes | None = pack({"robot": self._robot.name, "cameras": list(self._robot.cameras)})
        self._num_episodes = 0
        self._episode: Episode | None = None
        self._waits_for_first_chunk = False

    async def answer(self, data: bytes | str) -> bytes | str | None:
        """Return the answer; a text if it is a refusal, which these clients raise as an error."""
        try:
            return pack(await self._answer(_read(data)))
        except Exception as error:
            refused = refusal(error)
            if refused is None:
                raise
            return json.dumps({"code": refused.code, "message": str(refused)})

    async def _answer(self, message: Mapping[Any, Any]) -> dict[str, Any]:
        if message.get("reset"):
            prompt = message.get("prompt") or ""
            if not isinstance(prompt, str):
                raise RefusalError("bad_message", "prompt", got=describe(prompt), allowed="text")
            self._episode = Episode(self._host, prompt, self._num_episodes)
            self._num_episodes += 1
            return {}
        if self._episode is None:
            raise RefusalError("bad_message", "order of messages", got="an observation", allowed="reset, first")
        if message.get("compute_kv_cache"):
            await self._observe(self._episode, message)
            return {}
        return {"action": await self._act(self._episode, message)}

    async def _act(self, episode: Episode, message: Mapping[Any, Any]) -> np.ndarray:
        """Return the next chunk [entries, latent frames, actions per latent frame]."""
        first = not episode.has_begun
        if first:
            seen = message.get("obs")
            seen = seen[0] if isinstance(seen, list) and seen else seen
            state = seen.get(STATE) if isinstance(seen, dict) else None
            pictures = self._pictures(seen)
            await episode.begin(pictures, first_state(self._robot, state))
        self._waits_for_first_chunk = first
        chunk = await episode.predict()
        actions = chunk.actions.reshape(-1, self._robot.timing.actions_per_latent_frame, self._robot.num_dofs)
        if first:  # the latent frame that clients pass over
            actions = np.concatenate([np.zeros_like(actions[:1]), actions])
        return np.ascontiguousarray(actions.transpose(2, 0, 1))

    async def _observe(self, episode: Episode, message: Mapping[Any, Any]) -> None:
        frames, actions = message.get("obs"), message.get("state")
        if not isinstance(frames, list) or not frames:
            raise RefusalError("bad_observation", "obs", got=describe(frames), allowed="a list of observations")
        shape = (self._robot.num_dofs, self._robot.timing.actions_per_latent_frame)
        if not (isinstance(actions, np.ndarray) and actions.ndim == 3 and actions.shape[::2] == shape):
            allowed = f"[{shape[0]}, latent frames, {shape[1]}], the actions as they were answered"
            raise RefusalError("bad_observation", "state", got=describe(actions), allowed=allowed)
        if self._waits_for_first_chunk:
            actions = actions[:, 1:]
        executed = np.ascontiguousarray(actions.transpose(1, 2, 0)).reshape(-1, shape[0])
        seen = [self._pictures(frame) for frame in frames]
        clips = {camera: np.stack([each[camera] for each in seen]) for camera in self._robot.cameras}
        await episode.observe(clips, executed)
        self._waits_for_first_chunk = False

    def _pictures(self, seen: Any) -> dict[str, np.ndarray]:
        """Return one picture of each of the policy's cameras."""
        if not isinstance(seen, dict):
            raise RefusalError("bad_observation", "obs", got=describe(seen), allowed="pictures by camera")
        names = [CAMERA_PREFIX + camera for camera in self._robot.cameras]
        if missing := [name for name in names if name not in seen]:
            got = ", ".join(map(str, seen))[:200]
            raise RefusalError("bad_observation", f"obs lacks {', '.join(missing)}", got=got, allowed=", ".join(names))
        return {camera: picture(name, seen[name]) for camera, name in zip(self._robot.cameras, names, strict=True)}


def _read(data: bytes | str) -> Mapping[Any, Any]:
    if isinstance(data, str):
        raise RefusalError("bad_message", "message", got="text", allowed="msgpack")
    try:
        message = unpack(data)
    except InputError as error:
        raise RefusalError("bad_message", str(error)) from error
    if not isinstance(message, dict):
        raise RefusalError("bad_message", "message", got=describe(message), allowed="a map")
    return message
