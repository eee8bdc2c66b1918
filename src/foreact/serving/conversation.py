"""One client's messages, from the facts to the last answer: the same whatever carries them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from foreact.control.protocol import encode
from foreact.serving.buckets import ConnectionPace
from foreact.serving.config import Limits
from foreact.serving.host import Host
from foreact.serving.sessions import Connection

Reply = Callable[[bytes | str], Awaitable[None]]


async def converse(
    host: Host, connection: Connection, limits: Limits, messages: AsyncIterator[bytes | str], send: Reply
) -> None:
    """Say what the server is; then answer message by message, none faster than the limits allow, until there are none.

    Args:
        host: What answers.
        connection: Of the host's.
        limits: How fast messages are taken.
        messages: What the client says, as it comes.
        send: Sends an answer.
    """
    pace = ConnectionPace(limits)
    await send(encode(host.facts))
    async for data in messages:
        connection.answering = True
        pause_s = pace.take_message()
        await send(await host.answer(connection, data))
        connection.answering = False
        if pause_s:
            await asyncio.sleep(pause_s)
