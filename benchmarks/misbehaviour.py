"""What a client can do wrong to a policy server, each going on for ever: for `faults.py`."""

import asyncio
import json
import os
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from foreact.control.protocol import VERSION, Predict, RefusalError, Start, encode, read_facts, read_reply
from serving import FakeRobot

TOKEN = "a token for a benchmark on loopback"
GIGABYTE = 1 << 30
BEAT_S = 0.02


@dataclass
class Target:
    """Whom a fault is directed at."""

    address: str
    victims: list[str] = field(default_factory=list)
    """Names of the healthy robots' sessions."""


@asynccontextmanager
async def speaking(address: str, token: str = TOKEN):
    """A connection whose facts were read: (socket, facts)."""
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(
        address, compression=None, max_size=None, proxy=None, additional_headers=headers, close_timeout=0.5
    ) as connection:
        yield connection, read_facts(await connection.recv())


async def ask(connection: ClientConnection, message: Any) -> Any:
    await connection.send(message if isinstance(message, bytes) else encode(message))
    return read_reply(await connection.recv())


async def begun(connection: ClientConnection, facts, number: int, slow: float = 1.0) -> tuple[str, FakeRobot]:
    """Start a session and take its first chunk; return its name and its robot, so many times slower than it could."""
    fake = FakeRobot(facts, number, slow)
    start = Start(
        version=VERSION,
        instruction=f"robot {number}",
        mode="grounded",
        seed=number,
        imagined=False,
        session=None,
        token=None,
        sent_s=time.monotonic(),
    )
    name = (await ask(connection, start)).session
    await ask(connection, fake.begin(name))
    return name, fake


def frame_head(num_bytes: int) -> bytes:
    """The head of a websocket's masked binary frame, which promises that many bytes."""
    return struct.pack("!BBQ4s", 0x82, 0x80 | 127, num_bytes, bytes(4))


async def killed_mid_message(target: Target, done: Counter) -> None:
    while True:
        async with speaking(target.address) as (connection, _):
            connection.transport.write(frame_head(100_000) + bytes(50_000))
            await asyncio.sleep(BEAT_S)
            connection.transport.abort()
        done["connections cut"] += 1


async def slow(target: Target, done: Counter) -> None:
    async with speaking(target.address) as (connection, _):
        connection.transport.write(frame_head(1 << 20))
        while True:
            connection.transport.write(b"x")
            done["bytes sent"] += 1
            await asyncio.sleep(BEAT_S)


async def flood(target: Target, done: Counter) -> None:
    """Valid questions as fast as they go out, the answers unread."""
    async with speaking(target.address) as (connection, facts):
        name, fake = await begun(connection, facts, 900)
        for sequence in range(2, 10**9):
            await connection.send(encode(fake.step(name, sequence, fake.under_way)))
            done["messages sent"] += 1


async def garbage(target: Target, done: Counter) -> None:
    rng = np.random.default_rng(0)
    while True:
        with suppress(ConnectionClosed):
            async with speaking(target.address) as (connection, _):
                while True:
                    await refused(connection, rng.bytes(int(rng.integers(0, 2000))), done)


async def unusable_numbers(target: Target, done: Counter) -> None:
    """Pictures of wrong shapes, actions and states that are no numbers."""
    async with speaking(target.address) as (connection, facts):
        name, fake = await begun(connection, facts, 901)
        step = fake.step(name, 2, fake.under_way)
        images = {camera: clip[:, :-1, :, :2] for camera, clip in step.images.items()}
        for sequence in range(2, 10**9):
            bad = (
                replace(step, executed=np.full_like(step.executed, np.nan)),
                replace(step, images=images),
                replace(step, images={camera: clip[1:] for camera, clip in step.images.items()}),
                replace(step, under_way=step.under_way[:, 1:]),
            )[sequence % 4]
            await refused(connection, encode(replace(bad, sent_s=time.monotonic())), done)


async def one_gigabyte(target: Target, done: Counter) -> None:
    while True:
        # AttributeError: websockets aborts a transport that has been cut off, which some versions of asyncio refuse.
        with suppress(ConnectionClosed, ConnectionError, AttributeError):
            async with speaking(target.address) as (connection, _):
                connection.transport.write(frame_head(GIGABYTE))
                for _ in range(GIGABYTE >> 16):
                    connection.transport.write(bytes(1 << 16))
                    done["64 KiB pieces"] += 1
                    await asyncio.sleep(0)
                    if connection.transport.is_closing():
                        break
        done["connections"] += 1


async def anothers_session(target: Target, done: Counter) -> None:
    async with speaking(target.address) as (connection, facts):
        fake = FakeRobot(facts, 902)
        for number in range(10**9):
            victim = target.victims[number % len(target.victims)]
            await refused(connection, encode(fake.step(victim, 3, fake.under_way)), done)
            take_up = Start(
                version=VERSION,
                instruction="",
                mode="grounded",
                seed=0,
                imagined=False,
                session=victim,
                token="guessed",
                sent_s=time.monotonic(),
            )
            await refused(connection, encode(take_up), done)


async def replayed(target: Target, done: Counter) -> None:
    async with speaking(target.address) as (connection, facts):
        name, fake = await begun(connection, facts, 903)
        await ask(connection, fake.step(name, 2, fake.under_way))
        while True:
            await refused(connection, encode(fake.step(name, 1, fake.under_way)), done)
            await refused(connection, encode(fake.step(name, 2, fake.under_way)), done)  # the last: answered again


async def stale(target: Target, done: Counter) -> None:
    async with speaking(target.address) as (connection, facts):
        name, _ = await begun(connection, facts, 904)
        while True:
            old = Predict(session=name, sequence=2, sent_s=time.monotonic() - 3600)
            await refused(connection, encode(old), done)


async def no_token(target: Target, done: Counter) -> None:
    for number in range(10**9):
        try:
            async with speaking(target.address, token=f"guess {number}"):
                done["let in"] += 1
        except InvalidStatus as error:
            done[f"HTTP {error.response.status_code}"] += 1


FAULTS: dict[str, Callable[[Target, Counter], Awaitable[None]]] = {
    "killed in the middle of a message": killed_mid_message,
    "sends a byte at a time": slow,
    "floods": flood,
    "sends garbage": garbage,
    "numbers and shapes of no use": unusable_numbers,
    "a message of 1 GB": one_gigabyte,
    "another's session": anothers_session,
    "replays": replayed,
    "stale time stamps": stale,
    "no right token": no_token,
}


async def refused(connection: ClientConnection, data: bytes, done: Counter) -> None:
    """Send it, and count what comes back."""
    await connection.send(data)
    answer = await connection.recv()
    try:
        read_reply(answer) if isinstance(answer, bytes) else done.update([json.loads(answer)["code"]])
        done["answered"] += isinstance(answer, bytes)
    except RefusalError as error:
        done[error.code] += 1


Fault = Callable[[Target, Counter], Awaitable[None]]


def commit(fault: Fault, target: Target, seconds: float, details: Any) -> None:
    """Commit one fault in this process: say that it begins, and at its end what was done."""
    done = Counter()
    if (
        os.sched_getscheduler(0) != os.SCHED_OTHER
    ):  # real time, on a machine that is busy: below the robots' and the server
        below = max(1, os.sched_getparam(0).sched_priority - 1)
        os.sched_setscheduler(0, os.sched_getscheduler(0), os.sched_param(below))
    os.nice(19)  # it would be on another machine: it may take the server's attention, and not the robots' processors
    details.put("begun")

    async def go_on() -> None:
        with suppress(TimeoutError, ConnectionClosed, OSError):
            await asyncio.wait_for(fault(target, done), seconds)

    try:
        asyncio.run(go_on())
    finally:
        details.put(dict(done))
