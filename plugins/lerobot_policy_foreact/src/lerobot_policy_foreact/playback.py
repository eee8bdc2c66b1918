"""Chunks handed out action by action to a batch of robots, and what was seen meanwhile kept for the next one."""

from collections.abc import Mapping, Sequence

import numpy as np
from foreact.errors import ConfigurationError, InputError
from foreact.policy.policy import Policy
from foreact.policy.session import Session

Pictures = Mapping[str, np.ndarray]
"""Camera name to uint8 [robots, height, width, 3]."""


class Playback:
    """One session per robot, all of them in step: they began together and execute as many actions of every chunk.

    The picture that comes with a step was taken before that step's action, as in a dataset's row: of the pictures that
    come while a chunk is executed every `camera_stride`-th is kept, the last one being that of the step after it.
    """

    def __init__(self, policy: Policy, *, num_executed: int | None, seed: int):
        """Wait for the first pictures.

        Args:
            policy: Decides for all robots.
            num_executed: Actions of each chunk that are executed; None: all.
            seed: Of the first robot's noise; every further one has the next number.

        Raises:
            ConfigurationError: `num_executed` makes no whole latent frames, or more than a chunk.
        """
        per_frame, most = policy.embodiment.timing.actions_per_latent_frame, policy.actions_per_chunk
        if num_executed is not None and (num_executed % per_frame or not 0 < num_executed <= most):
            raise ConfigurationError(
                "n_action_steps", got=num_executed, allowed=f"a multiple of {per_frame}, at most {most}"
            )
        self._policy, self._num_executed, self._seed = policy, num_executed, seed
        self._sessions: list[Session] = []
        self._chunk = np.empty((0, 0, 0), np.float32)
        self._num_done = 0
        self._seen: list[Pictures] = []

    def act(self, pictures: Pictures, states: np.ndarray, instructions: Sequence[str]) -> np.ndarray:
        """Return the next action of every robot, float32 [robots, dofs].

        Args:
            pictures: What the cameras see now.
            states: [robots, entries], now; used at the first step.
            instructions: Likewise.

        Raises:
            InputError: Another number of robots than before, or what foreact refuses.
        """
        if not self._sessions:
            self._sessions = begin(self._policy, pictures, states, instructions, seed=self._seed)
            self._predict()
        elif len(states) != len(self._sessions):
            raise InputError(
                "robots in the batch", got=len(states), allowed=len(self._sessions), cure="call reset() before"
            )
        else:
            if self._num_done % self._policy.embodiment.timing.camera_stride == 0:
                self._seen.append(pictures)
            if self._num_done == self._chunk.shape[1]:
                self._observe()
                self._predict()
        self._num_done += 1
        return self._chunk[:, self._num_done - 1]

    def _observe(self) -> None:
        """Tell every session what its robot saw and did since its last chunk."""
        clips = {camera: np.stack([shown[camera] for shown in self._seen], axis=1) for camera in self._seen[0]}
        seen = [{camera: clip[row] for camera, clip in clips.items()} for row in range(len(self._sessions))]
        self._policy.observe_together(self._sessions, seen, list(self._chunk))

    def _predict(self) -> None:
        chunks = self._policy.predict_together(self._sessions)
        self._chunk = np.stack([chunk.actions for chunk in chunks])[:, : self._num_executed]
        self._num_done, self._seen = 0, []


def begin(
    policy: Policy, pictures: Pictures, states: np.ndarray, instructions: Sequence[str], *, seed: int
) -> list[Session]:
    """Return one session per robot that has seen its first pictures; the n-th one's seed is `seed` + n."""
    sessions = []
    for row, (state, instruction) in enumerate(zip(states, instructions, strict=True)):
        session = policy.start(instruction, seed=seed + row)
        policy.observe_first(session, {camera: shown[row : row + 1] for camera, shown in pictures.items()}, state)
        sessions.append(session)
    return sessions
