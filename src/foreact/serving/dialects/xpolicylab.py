"""XPolicyLab's messages, by which RoboTwin 2.0 and other simulators ask a policy server since July 2026.

A frame is a msgpack map: message_type, identifiers that the answer repeats, and a payload.

    hello                                             answered by hello_ack
    prepare_case {seed, instruction, action_type..}   what the next trials are of; prepare_case_ack
    reset                                             an episode begins; reset_result
    infer {observation}                               infer_result {actions: list of maps}
    trial_end {success}                               trial_end_ack
    heartbeat                                         heartbeat_ack
    close                                             not answered

Of all that happens while a list of actions is executed the policy sees one picture, so each answer holds the actions
of one camera frame; the rest of a chunk is kept for the next ones. Words come with each observation, and the noise's
seed from prepare_case.

Source: github.com/XPolicyLab/XPolicyLab, client_server/ws.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from foreact.control.protocol import RefusalError, describe
from foreact.errors import ConfigurationError, InputError
from foreact.serving.computing import refusal
from foreact.serving.dialects.dialect import Episode, picture
from foreact.serving.dialects.numpy_maps import pack, unpack
from foreact.serving.host import Host
from foreact.serving.logs import logger
from foreact.serving.trials import Trial

ANSWERS = {
    "hello": "hello_ack",
    "prepare_case": "prepare_case_ack",
    "reset": "reset_result",
    "infer": "infer_result",
    "trial_end": "trial_end_ack",
    "heartbeat": "heartbeat_ack",
}
CAMERAS = {
    "cam_high": "cam_head",
    "top": "cam_head",
    "left_wrist": "cam_left_wrist",
    "right_wrist": "cam_right_wrist",
}
"""What cameras of our robot files are called there, if otherwise."""
PARTS: dict[int, tuple[tuple[str, int], ...]] = {
    14: (
        ("left_arm_joint_state", 6),
        ("left_ee_joint_state", 1),
        ("right_arm_joint_state", 6),
        ("right_ee_joint_state", 1),
    ),
    16: (("left_ee_pose", 7), ("left_ee_joint_state", 1), ("right_ee_pose", 7), ("right_ee_joint_state", 1)),
}
"""Entries of states and actions, by how many there are: joints, or poses of the hands."""


class XPolicyLabConversation:
    """One connection; its trials follow each other."""

    greeting: bytes | None = None

    def __init__(self, host: Host):
        """Begin no trial yet.

        Raises:
            ConfigurationError: The policy's robot is none that these messages can speak of.
        """
        self._host, self._robot = host, host.policy.embodiment
        if self._robot.num_dofs not in PARTS or self._robot.num_state_entries != self._robot.num_dofs:
            got = f"{self._robot.num_dofs} numbers an action"
            allowed = "14 (joints and grippers of two arms) or 16 (poses and grippers)"
            raise ConfigurationError(f"robot {self._robot.name!r} in the dialect xpolicylab", got=got, allowed=allowed)
        self._parts = PARTS[self._robot.num_dofs]
        self._case: Mapping[Any, Any] = {}
        self._forget()

    async def answer(self, data: bytes | str) -> bytes | str | None:
        """Return the answer's frame; None: the client said that it is done."""
        frame: Mapping[Any, Any] = {}
        try:
            frame = _read(data)
            kind = frame.get("message_type")
            if kind == "close":
                return None
            if kind not in ANSWERS:
                allowed = ", ".join((*ANSWERS, "close"))
                raise RefusalError("bad_message", "message_type", got=repr(kind)[:80], allowed=allowed)
            payload = await self._answer(kind, frame["payload"])
            return pack({**frame, "message_type": ANSWERS[kind], "payload": payload})
        except Exception as error:
            refused = refusal(error)
            if refused is None:
                raise
            details = {"code": refused.code, "message": str(refused), "details": {}}
            return pack({**frame, "message_type": "error", "payload": details})

    async def _answer(self, kind: str, payload: Mapping[Any, Any]) -> dict[str, Any]:
        if kind == "infer":
            return {"actions": await self._act(payload.get("observation"))}
        if kind == "hello":
            return {"ok": True, "server": "foreact"}
        if kind == "prepare_case":
            self._case = payload
        elif kind in ("reset", "trial_end"):
            self._forget()
            if kind == "trial_end":
                self._report(bool(payload.get("success")))
        return {"ok": True}

    def _report(self, success: bool) -> None:
        """Pass on what the client says of a trial that ended."""
        task, seed = self._case.get("task_name"), self._case.get("seed")
        trial = Trial(
            task=task if isinstance(task, str) else "", seed=seed if isinstance(seed, int) else 0, success=success
        )
        logger.info("trial ended", extra={"task": trial.task, "seed": trial.seed, "success": success})
        self._host.on_trial(trial)

    def _forget(self) -> None:
        """Be ready for the first observation of a trial."""
        self._episode: Episode | None = None
        self._left = np.zeros((0, self._robot.num_dofs), np.float32)
        """Actions of the chunk that were not handed out yet."""
        self._executed: list[np.ndarray] = []
        self._seen: list[dict[str, np.ndarray]] = []

    async def _act(self, observation: Any) -> list[dict[str, np.ndarray]]:
        """Return the actions until the next picture."""
        if not isinstance(observation, dict):
            raise RefusalError("bad_observation", "observation", got=describe(observation), allowed="a map")
        images = self._pictures(observation)
        if self._episode is None:
            self._episode = await self._begin(observation, images)
            self._left = (await self._episode.predict()).actions
        else:
            self._seen.append(images)
            if not len(self._left):
                await self._observe(self._episode)
                self._left = (await self._episode.predict()).actions
        given, self._left = np.split(self._left, [self._robot.timing.camera_stride])
        self._executed.append(given)
        return [self._named(action) for action in given]

    async def _begin(self, observation: Mapping[Any, Any], images: Mapping[str, np.ndarray]) -> Episode:
        words = observation.get("instruction", self._case.get("instruction"))
        seed = self._case.get("seed", 0)
        if not isinstance(words, str):
            raise RefusalError("bad_observation", "instruction", got=describe(words), allowed="text")
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise RefusalError("bad_message", "seed", got=describe(seed), allowed="a whole number, 0 or more")
        episode = Episode(self._host, words, seed)
        await episode.begin(images, self._state(observation.get("state")))
        return episode

    async def _observe(self, episode: Episode) -> None:
        """Let the policy see the pictures of a chunk that was executed."""
        clips = {camera: np.stack([each[camera] for each in self._seen]) for camera in self._robot.cameras}
        await episode.observe(clips, np.concatenate(self._executed))
        self._seen, self._executed = [], []

    def _pictures(self, observation: Mapping[Any, Any]) -> dict[str, np.ndarray]:
        vision = observation.get("vision")
        found = {}
        for camera in self._robot.cameras:
            name = CAMERAS.get(camera, camera)
            taken = vision.get(name) if isinstance(vision, dict) else None
            if not isinstance(taken, dict):
                raise RefusalError(
                    "bad_observation", f"vision.{name}", got=describe(taken), allowed='{"color": picture}'
                )
            found[camera] = picture(name, taken.get("color"))
        return found

    def _state(self, said: Any) -> np.ndarray:
        """Return the state as one vector, in the order of the robot's actions."""
        numbers = []
        for name, size in self._parts:
            part = np.asarray(said.get(name) if isinstance(said, dict) else None)
            if part.dtype.kind not in "fiu" or part.size != size:
                raise RefusalError("bad_observation", f"state.{name}", got=describe(part), allowed=f"{size} numbers")
            numbers.append(part.ravel())
        return np.concatenate(numbers).astype(np.float32)

    def _named(self, action: np.ndarray) -> dict[str, np.ndarray]:
        ends = np.cumsum([size for _, size in self._parts])[:-1]
        return {name: part for (name, _), part in zip(self._parts, np.split(action, ends), strict=True)}


def _read(data: bytes | str) -> Mapping[Any, Any]:
    if isinstance(data, str):
        raise RefusalError("bad_message", "frame", got="text", allowed="msgpack")
    try:
        frame = unpack(data)
    except InputError as error:
        raise RefusalError("bad_message", str(error)) from error
    if not isinstance(frame, dict) or not isinstance(frame.get("payload"), dict):
        raise RefusalError("bad_message", "frame", got=describe(frame), allowed="a map with a payload")
    return frame
