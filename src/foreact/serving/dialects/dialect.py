"""What the dialects have in common: one session at a time per connection, driven message by message."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Protocol, runtime_checkable

import numpy as np

from foreact.control.protocol import RefusalError, describe
from foreact.embodiments import Embodiment
from foreact.embodiments.rotations import identity
from foreact.policy.session import Session
from foreact.serving.buckets import ConnectionPace
from foreact.serving.config import Limits
from foreact.serving.host import Host
from foreact.serving.sessions import Connection
from foreact.types import ActionChunk

Reply = Callable[[bytes | str], Awaitable[None]]


@runtime_checkable
class Conversation(Protocol):
    """One client's messages in a dialect."""

    greeting: bytes | None
    """What the server says first; None: it waits."""

    async def answer(self, data: bytes | str) -> bytes | str | None:
        """Return the answer to a message; None: the client is done, and the connection is closed."""
        ...


async def converse_in_dialect(
    conversation: Conversation,
    connection: Connection,
    limits: Limits,
    messages: AsyncIterator[bytes | str],
    send: Reply,
) -> None:
    """Answer message by message, none faster than the limits allow, until there are none or the client is done."""
    pace = ConnectionPace(limits)
    if conversation.greeting is not None:
        await send(conversation.greeting)
    async for data in messages:
        connection.answering = True
        pause_s = pace.take_message()
        reply = await conversation.answer(data)
        if reply is None:
            return
        await send(reply)
        connection.answering, connection.last_used_s = False, monotonic()
        if pause_s:
            await asyncio.sleep(pause_s)


class Episode:
    """One episode of a client that says what it sees and what it did; computed on the host's thread."""

    def __init__(self, host: Host, instruction: str, seed: int):
        """Start nothing yet: the session begins with the first picture."""
        self._host, self._policy = host, host.policy
        self._instruction, self._seed = instruction, seed
        self._session: Session | None = None

    @property
    def has_begun(self) -> bool:
        """Whether anything was seen."""
        return self._session is not None

    async def begin(self, images: Mapping[str, np.ndarray], state: np.ndarray) -> None:
        """Take in the first pictures, uint8 [height, width, 3] a camera, and the robot's state."""
        clips = {camera: image[None] for camera, image in images.items()}

        def work() -> Session:
            session = self._policy.start(self._instruction, seed=self._seed)
            self._policy.observe_first(session, clips, state)
            return session

        self._session = await self._host.call(work)

    async def observe(self, clips: Mapping[str, np.ndarray], executed: np.ndarray) -> None:
        """Take in the pictures since then, uint8 [time, height, width, 3] a camera, and the actions [time, dofs]."""
        await self._host.call(lambda: self._policy.observe(self._started(), clips, executed))

    async def predict(self) -> ActionChunk:
        """Return the next chunk."""
        return await self._host.call(lambda: self._policy.predict(self._started()))

    def _started(self) -> Session:
        if self._session is None:
            raise RefusalError("bad_message", "order of messages", got="no observation yet", allowed="one, first")
        return self._session


def first_state(robot: Embodiment, said: np.ndarray | None) -> np.ndarray:
    """Return the state that a session begins with, for clients that may not say it.

    A robot whose actions are relative to its first pose begins at the origin: its clients add that pose themselves. A
    robot of raw channels has no posture that the policy knew of.

    Raises:
        RefusalError: The policy has to know the state, and it was not said.
    """
    if robot.needs_initial_pose:
        origin = np.zeros(robot.num_state_entries, np.float32)
        for arm in robot.arms:
            if arm.rotation is not None:
                origin[list(arm.entries[3:])] = identity(arm.rotation)
        return origin
    if robot.channels:
        return np.zeros(robot.num_state_entries, np.float32)
    if said is None:
        names = ", ".join(robot.state_names or robot.dof_names)
        raise RefusalError("bad_observation", "state of the robot", got="none", allowed=f"numbers: {names}")
    return np.asarray(said, dtype=np.float32)


def picture(name: str, value: Any) -> np.ndarray:
    """Return a picture that a client sent.

    Raises:
        RefusalError: It is no uint8 [height, width, 3].
    """
    if not (isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3):
        allowed = "uint8 [height, width, 3]"
        raise RefusalError("bad_observation", f"picture of camera {name!r}", got=describe(value), allowed=allowed)
    return np.array(value, order="C")  # what came in a message cannot be written to
