"""A websocket connection that is read no faster than the limits allow, and the gate that knows all of them.

websockets answers every ping and parses every frame as soon as its bytes are there: 256 KiB of pings are 43,000 frames,
half a second in which the event loop does nothing else. So what arrives is passed on to it in small pieces, counted in
between; a connection that sends too much is not read for a while, and one that sends what no client of ours would is
closed. The bytes of all connections together are bounded too, whatever their number.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from time import monotonic
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State

from foreact.serving.buckets import Bucket, ConnectionPace
from foreact.serving.config import Limits
from foreact.serving.logs import logger
from foreact.serving.sessions import Connection

POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013
"""Codes with which a websocket is closed."""
_LEAST_PIECE, _MOST_PIECE = 4096, 16384
"""Bytes that are passed on at once: the fewer, the fewer frames can be in them; more while no frame ends."""
_MOST_FRAGMENTS = 1024
"""Frames of one message: an empty one costs its sender 6 bytes and this process hundreds until the message is whole.
Older releases of websockets have no limit of their own."""
_CONTROL = (Opcode.PING, Opcode.PONG, Opcode.CLOSE)


class PacedConnection(ServerConnection):
    """One client's connection; `Gate.connection` makes it."""

    def __init__(self, *args: Any, gate: "Gate", **settings: Any):
        """See `ServerConnection`."""
        super().__init__(*args, **settings)
        self._gate, self._pace = gate, ConnectionPace(gate.limits)
        self._backlog = bytearray()
        """What has arrived and was not passed on yet."""
        self._pauses: set[str] = set()
        """Why it is not read at present."""
        self._sizes: deque[int] = deque()
        """Bytes of each whole message that is not answered yet."""
        self._partial_bytes = 0
        """Of the message whose first frames are here."""
        self._num_fragments = 0
        """Frames of the same message."""
        self._num_frames, self._num_control_frames, self._piece_bytes = 0, 0, _LEAST_PIECE
        self._unfinished_since_s: float | None = None
        self.held_bytes = 0
        """Bytes of it that this process keeps: of messages that are arriving, or wait for their answers."""
        self.client: Connection | None = None
        """Who it is, once it was let in."""

    @property
    def host(self) -> str:
        """The address it comes from, without the port."""
        return host_of(self.remote_address)

    @property
    def admitted(self) -> bool:
        """Whether it was let in."""
        return self.client is not None

    @property
    def drives(self) -> bool:
        """Whether a robot is driven over it."""
        return self.client is not None and self.client.drives

    # ---- from asyncio and websockets ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Also let the gate know."""
        super().connection_made(transport)
        # websockets would read on when its queue is empty, although we want to wait: so it asks us.
        self.recv_messages.pause = partial(self._pause, "unread messages")
        self.recv_messages.resume = partial(self._resume, "unread messages")
        self._gate.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Also let the gate know."""
        self._backlog.clear()
        self._gate.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on as much as may be, keep the rest."""
        self._backlog += data
        self._pass_on()

    def eof_received(self) -> None:
        """Forget what was not passed on: who has gone needs no answer."""
        self._backlog.clear()
        super().eof_received()

    def process_event(self, event: Event) -> None:
        """Count what was parsed."""
        if isinstance(event, Frame):
            self._num_frames += 1
            if event.opcode in _CONTROL:
                self._num_control_frames += 1
            else:
                self._partial_bytes += len(event.data)
                self._num_fragments += 1
                if event.fin:
                    self._sizes.append(self._partial_bytes)
                    self._partial_bytes, self._num_fragments, self._unfinished_since_s = 0, 0, None
        super().process_event(event)

    # ---- for the server ----

    async def messages(self) -> AsyncIterator[bytes | str]:
        """Yield messages; each counts as held until the next is asked for."""
        async for data in self:
            yield data
            if self._sizes:
                self._sizes.popleft()
            self._count_held()

    def check_time(self) -> None:
        """Close the connection if a message has been arriving for too long."""
        since_s = self._unfinished_since_s
        if since_s is not None and not self._pauses and monotonic() - since_s > self._gate.limits.message_s:
            self.drop(POLICY_VIOLATION, "a message did not arrive whole in time")

    def drop(self, code: int, reason: str) -> None:
        """Say why, and close the connection without waiting for the other side."""
        logger.warning("dropped", extra={"client": str(self.remote_address), "why": reason})
        self._gate.on_drop(reason)
        self._gate.leave(self)
        self._backlog.clear()
        if self.protocol.state is State.OPEN:
            self.protocol.fail(code, reason)
            self.send_data()
        self.transport.abort()

    # ---- inside ----

    def _pass_on(self) -> None:
        while self._backlog and not self._pauses:
            if self.protocol.close_sent is not None:  # nothing will be answered any more
                self._backlog.clear()
                break
            piece = bytes(self._backlog[: self._piece_bytes])
            del self._backlog[: self._piece_bytes]
            self._num_frames = self._num_control_frames = 0
            super().data_received(piece)
            if self._pace.take_control_frames(self._num_control_frames):
                self.drop(POLICY_VIOLATION, "too many pings")
                return
            if self._num_fragments > _MOST_FRAGMENTS:
                self.drop(POLICY_VIOLATION, "a message in too many fragments")
                return
            self._piece_bytes = _LEAST_PIECE if self._num_frames else min(2 * self._piece_bytes, _MOST_PIECE)
            wait_s = self._pace.take_bytes(len(piece), self._num_frames)
            if not self.drives:
                wait_s = max(wait_s, self._gate.others_bytes.take(float(len(piece))))
            if wait_s:
                self._pause("pace")
                self.loop.call_later(wait_s, self._resume, "pace")
        self._count_held()

    def _count_held(self) -> None:
        unparsed = len(self.protocol.reader.buffer)
        held = len(self._backlog) + unparsed + self._partial_bytes + sum(self._sizes)
        if not (unparsed or self._partial_bytes):
            self._unfinished_since_s = None
        elif self._unfinished_since_s is None:
            self._unfinished_since_s = monotonic()
        self._gate.count_held(self, held)

    def _pause(self, why: str) -> None:
        if not self._pauses:
            self.transport.pause_reading()
        self._pauses.add(why)

    def _resume(self, why: str) -> None:
        self._pauses.discard(why)
        if self._pauses or self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self._unfinished_since_s is not None:
            self._unfinished_since_s = monotonic()  # the time in which it was not read is not the client's
        if self._backlog:
            self.loop.call_soon(self._pass_on)


class Gate:
    """All connections of a server: how many there are of each kind, and what they hold."""

    def __init__(self, limits: Limits, on_drop: Callable[[str], None]):
        """Know nobody.

        Args:
            limits: With every size filled in (`Limits.fitted`).
            on_drop: Told why a connection was closed.
        """
        assert limits.held_bytes is not None
        self.limits, self.on_drop = limits, on_drop
        self._most_held = limits.held_bytes
        self.others_bytes = Bucket(limits.others_bytes_per_s)
        """What those share who drive no robot."""
        self._held_bytes = 0
        self._all: dict[PacedConnection, None] = {}
        """In the order in which they came."""

    def connection(self, *args: Any, **settings: Any) -> PacedConnection:
        """Return a new connection: what `websockets.serve` calls."""
        return PacedConnection(*args, gate=self, **settings)

    def enter(self, connection: PacedConnection) -> None:
        """Take in one more; where there are too many that were not let in yet, the oldest of these goes."""
        self._all[connection] = None
        strangers = [each for each in self._all if not each.admitted]
        if len(strangers) > self.limits.strangers:
            strangers[0].drop(TRY_AGAIN_LATER, "too many connections wait to be let in")

    def leave(self, connection: PacedConnection) -> None:
        """Forget one that is closed."""
        if connection in self._all:
            del self._all[connection]
            self._held_bytes -= connection.held_bytes
            connection.held_bytes = 0

    def count_held(self, connection: PacedConnection, num_bytes: int) -> None:
        """Take in how many bytes a connection holds now; beyond the limit, whoever holds most goes."""
        if connection not in self._all:
            return
        change, connection.held_bytes = num_bytes - connection.held_bytes, num_bytes
        self._held_bytes += change
        while change > 0 and self._held_bytes > self._most_held:
            most = max(self._all, key=lambda each: (not each.drives, each.held_bytes))
            most.drop(TRY_AGAIN_LATER, "too much is arriving: messages of all clients together")

    def num_admitted(self, host: str | None = None) -> int:
        """Return how many were let in, altogether or from one address."""
        return sum(each.admitted and host in (None, each.host) for each in self._all)

    def check_times(self) -> None:
        """Close the connections on which a message has been arriving for too long."""
        for each in list(self._all):
            each.check_time()


def host_of(remote_address: Any) -> str:
    """Return the address of a socket's other end, without its port."""
    return str(remote_address[0]) if isinstance(remote_address, tuple) else str(remote_address)
