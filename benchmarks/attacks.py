"""What somebody can try who wants a policy server to fail its robots, each going on for ever: for `faults.py`.

Beside `misbehaviour.py`, which holds what a broken client does without meaning to.
"""

import asyncio
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import msgpack
import numpy as np
from misbehaviour import BEAT_S, Target, ask, begun, frame_head, no_token, refused, speaking
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from foreact.control.packing import pack
from foreact.control.protocol import VERSION, Observe, RefusalError, Start, encode
from serving import FakeRobot

PING = struct.pack("!BB4s", 0x89, 0x80, bytes(4))
EMPTY_FRAGMENT = struct.pack("!BB4s", 0x00, 0x80, bytes(4))
GONE = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, AttributeError, RefusalError)
"""AttributeError: websockets aborts a transport that has been cut off, which some versions of asyncio refuse."""


async def again_and_again(work: Callable[[], Awaitable[None]], done: Counter, *, pause_s: float = BEAT_S) -> None:
    """Do it, and begin anew whenever the server ends it."""
    while True:
        with suppress(*GONE):
            await work()
        done["begun anew"] += 1
        await asyncio.sleep(pause_s)


async def at_once(count: int, work: Callable[[], Awaitable[None]], done: Counter, *, pause_s: float = 0.2) -> None:
    """The same by many."""
    await asyncio.gather(*(again_and_again(work, done, pause_s=pause_s) for _ in range(count)))


async def pings(target: Target, done: Counter) -> None:
    async def work() -> None:
        async with speaking(target.address) as (connection, _):
            while not connection.transport.is_closing():
                connection.transport.write(PING * 4096)
                done["pings"] += 4096
                await asyncio.sleep(0)

    await again_and_again(work, done)


async def fragments(target: Target, done: Counter) -> None:
    """A message that consists of empty frames and never ends."""

    async def work() -> None:
        async with speaking(target.address) as (connection, _):
            connection.transport.write(struct.pack("!BB4s", 0x02, 0x80, bytes(4)))
            while not connection.transport.is_closing():
                connection.transport.write(EMPTY_FRAGMENT * 512)
                done["fragments"] += 512
                await asyncio.sleep(BEAT_S)

    await again_and_again(work, done)


async def takes_places(target: Target, done: Counter) -> None:
    """Eight connections with as many sessions as they get, and nothing done with them."""

    async def work() -> None:
        async with speaking(target.address) as (connection, _):
            while True:
                start = Start(
                    version=VERSION,
                    instruction="",
                    mode="grounded",
                    seed=0,
                    imagined=False,
                    session=None,
                    token=None,
                    sent_s=time.monotonic(),
                )
                try:
                    await ask(connection, start)
                    done["sessions"] += 1
                except RefusalError as error:
                    done[error.code] += 1
                    await asyncio.sleep(0.5)

    await at_once(8, work, done)


async def idle_connections(target: Target, done: Counter) -> None:
    async def work() -> None:
        async with speaking(target.address) as (connection, _):
            done["connections"] += 1
            await connection.wait_closed()

    await at_once(256, work, done, pause_s=1.0)


async def idle_sockets(target: Target, done: Counter) -> None:
    """TCP connections on which nothing is said."""
    where = urlsplit(target.address)

    async def work() -> None:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        done["sockets"] += 1
        try:
            await reader.read()
        finally:
            writer.close()

    await at_once(400, work, done, pause_s=1.0)


async def many_guesses(target: Target, done: Counter) -> None:
    await asyncio.gather(*(again_and_again(lambda: no_token(target, done), done) for _ in range(32)))


async def large_messages(target: Target, done: Counter) -> None:
    """As large as may be, of numbers that would have to be converted."""

    async def work() -> None:
        async with speaking(target.address) as (connection, facts):
            numbers = np.ones(int(facts.limits["message_bytes"]) // 8 - 1000, ">f8")
            images = {f"observation/images/{camera}": numbers for camera in facts.cameras}
            message = pack(images | {"observation/state": numbers[:14], "prompt": "push"})
            while True:
                await refused(connection, message, done)

    await at_once(4, work, done)


async def half_sent(target: Target, done: Counter) -> None:
    async def work() -> None:
        async with speaking(target.address) as (connection, facts):
            num_bytes = int(facts.limits["message_bytes"])
            connection.transport.write(frame_head(num_bytes) + bytes(num_bytes - 1))
            done["messages"] += 1
            await connection.wait_closed()

    await at_once(32, work, done)


async def long_turns(target: Target, done: Counter) -> None:
    """Eight chunks of pictures in one turn, again and again."""

    async def work() -> None:
        async with speaking(target.address) as (connection, facts):
            name, fake = await begun(connection, facts, 905)
            many = int(facts.limits["turn_chunks"])
            for sequence in range(2, 10**9):
                turn = fake.step(name, sequence, fake.under_way)
                images = {camera: np.concatenate([clip] * many) for camera, clip in turn.images.items()}
                await ask(connection, replace(turn, images=images, executed=np.concatenate([turn.executed] * many)))
                done["turns"] += 1

    await again_and_again(work, done)


async def openpi_clients(target: Target, done: Counter) -> None:
    """Sixteen of them, each no faster than a robot would be."""

    async def work() -> None:
        async with speaking(target.address) as (connection, facts):
            fake = FakeRobot(facts, 906)
            images = {f"observation/images/{camera}": clip[0] for camera, clip in fake.images.items()}
            message = pack(images | {"observation/state": fake.actions[0], "prompt": "push"})
            while True:
                begun_s = time.monotonic()
                await connection.send(message)
                await connection.recv()
                done["answers"] += 1
                await asyncio.sleep(max(0.0, begun_s + 0.4 - time.monotonic()))

    await at_once(16, work, done)


async def nested(target: Target, done: Counter) -> None:
    """Maps in maps where a text is expected: printing what was got would cost more than sending it."""
    value: object = b""
    for _ in range(400):
        value = {"": value, "x": b"\x00" * 40}
    message = msgpack.packb({"prompt": value, "images": {"top": value}, "state": value})

    async def work() -> None:
        async with speaking(target.address) as (connection, _):
            while True:
                await refused(connection, message, done)

    await at_once(4, work, done)


async def absurd_numbers(target: Target, done: Counter) -> None:
    """States that are finite and no robot's."""

    async def work() -> None:
        async with speaking(target.address) as (connection, facts):
            fake = FakeRobot(facts, 907)
            start = Start(
                version=VERSION,
                instruction="push",
                mode="grounded",
                seed=0,
                imagined=False,
                session=None,
                token=None,
                sent_s=time.monotonic(),
            )
            name = (await ask(connection, start)).session
            state = np.full(len(facts.state_names), 3e38, np.float32)
            while True:
                await refused(connection, encode(replace(fake.begin(name), state=state)), done)
                images = {camera: clip[:1] for camera, clip in fake.images.items()}
                look = Observe(
                    session=name,
                    sequence=1,
                    sent_s=time.monotonic(),
                    images=images,
                    executed=fake.actions[:0],
                    state=state,
                )
                await refused(connection, encode(look), done)

    await again_and_again(work, done)


async def all_at_once(target: Target, done: Counter) -> None:
    attacks = [attack for name, attack in ATTACKS.items() if attack is not all_at_once]
    await asyncio.gather(*(again_and_again(lambda attack=attack: attack(target, done), done) for attack in attacks))


ATTACKS: dict[str, Callable[[Target, Counter], Awaitable[None]]] = {
    "pings": pings,
    "a message in empty fragments": fragments,
    "takes all sessions": takes_places,
    "256 idle connections": idle_connections,
    "400 silent sockets": idle_sockets,
    "guesses tokens, 32 at once": many_guesses,
    "large messages of a wrong type": large_messages,
    "32 messages sent in half": half_sent,
    "turns of eight chunks": long_turns,
    "16 openpi clients": openpi_clients,
    "maps in maps": nested,
    "states of 3e38": absurd_numbers,
    "all attacks at once": all_at_once,
}
