"""The policy server as an ASGI application, for whatever runs these: Ray Serve does (`ray_deployment`).

What carries the messages then has a say, too: how large one can be, and whether a client that does not read is dropped.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from foreact.control.protocol import RefusalError
from foreact.serving.admission import WRONG_TOKEN_S, is_this_machine, knows_token
from foreact.serving.buckets import ConnectionPace
from foreact.serving.config import ServerConfig
from foreact.serving.conversation import converse
from foreact.serving.host import Host
from foreact.serving.logs import logger
from foreact.serving.sessions import Connection

_TOO_BIG, _UNWANTED = 1009, 1008
_UNREAD_MESSAGES = 16
"""Of one connection; a client that says more before it is answered is not one of ours, and is dropped."""
Collect = Callable[[], Awaitable[bytes]]


class _DropError(Exception):
    """The connection is to be closed, with a code."""

    def __init__(self, code: int, reason: str):
        super().__init__(reason)
        self.code, self.reason = code, reason


class Application:
    """Answers websockets on every path, and GET /healthz and /metrics."""

    def __init__(self, host: Host, config: ServerConfig, *, collect: Collect | None = None):
        """Serve nobody yet.

        Args:
            host: What answers; closed when the application ends.
            config: Token and limits; where to listen is not the application's to say.
            collect: Returns what /metrics tells, in Prometheus' text format; the host's own by default.
        """
        self._host, self._config, self._collect = host, config, collect

    def build(self) -> Starlette:
        """Return what is to be run."""
        routes = [
            Route("/healthz", self._tell_health),
            Route("/metrics", self._tell_metrics),
            WebSocketRoute("/{path:path}", self._converse),
        ]
        return Starlette(routes=routes, lifespan=self._live)

    @asynccontextmanager
    async def _live(self, _: Starlette) -> AsyncIterator[None]:
        tidying = asyncio.create_task(self._host.keep_tidy())
        try:
            yield
        finally:
            self._host.draining = True
            tidying.cancel()
            await asyncio.to_thread(self._host.close)

    async def _tell_health(self, _: Request) -> Response:
        trouble = self._host.trouble
        return PlainTextResponse(f"{trouble or 'OK'}\n", status_code=503 if trouble else 200)

    async def _tell_metrics(self, request: Request) -> Response:
        if (denied := await self._deny(request)) is not None:
            return denied
        text = self._host.metrics.text() if self._collect is None else await self._collect()
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _converse(self, socket: WebSocket) -> None:
        if (denied := await self._deny(socket)) is not None:
            await socket.send_denial_response(denied)
            return
        await socket.accept()
        host = socket.client.host if socket.client else "unknown"
        connection = self._host.join(Connection(_address(socket), host))
        try:
            async with aclosing(self._messages(socket)) as messages:
                with suppress(WebSocketDisconnect):
                    await converse(self._host, connection, self._config.limits, messages, _sender(socket))
        except _DropError as error:
            if error.code == _TOO_BIG:
                self._host.count_refusal(connection, RefusalError("too_large", "message", allowed=error.reason))
            with suppress(RuntimeError, WebSocketDisconnect):  # it is gone already
                await socket.close(error.code, error.reason)
        finally:
            self._host.leave(connection)

    async def _messages(self, socket: WebSocket) -> AsyncGenerator[bytes | str]:
        """Yield messages; read on meanwhile, since what runs us may keep for ever what we leave unread.

        Raises:
            _DropError: One is too large, or there are too many.
        """
        unread: asyncio.Queue[bytes | str | _DropError | None] = asyncio.Queue()
        pace = ConnectionPace(self._config.limits)
        reading = asyncio.create_task(self._read(socket, unread))
        try:
            while (data := await unread.get()) is not None:
                if isinstance(data, _DropError):
                    raise data
                yield data
                if wait_s := pace.take_bytes(len(data), 1):
                    await asyncio.sleep(wait_s)
        finally:
            reading.cancel()

    async def _read(self, socket: WebSocket, unread: "asyncio.Queue[bytes | str | _DropError | None]") -> None:
        """Put into a queue what comes; at the end why it ended: None if the client left."""
        most = self._host.limits.message_bytes
        assert most is not None
        why: _DropError | None = None
        try:
            while why is None:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                data = message.get("bytes")
                data = message["text"] if data is None else data
                if len(data) > most:
                    why = _DropError(_TOO_BIG, f"up to {most} bytes")
                elif unread.qsize() >= _UNREAD_MESSAGES:
                    why = _DropError(_UNWANTED, "too many messages before an answer")
                else:
                    unread.put_nowait(data)
        except Exception as error:  # of what carries us: whatever it is, nothing more will come
            logger.warning("connection lost", extra={"client": _address(socket), "why": str(error)})
        finally:
            unread.put_nowait(why)

    async def _deny(self, connection: HTTPConnection) -> Response | None:
        """Return how a client is turned away; None: it may come in."""
        if "origin" in connection.headers:  # a page in a browser on this machine is not to drive its robots
            return PlainTextResponse("not from a browser\n", status_code=403)
        token = self._config.token
        if token is None and not is_this_machine(connection.client.host if connection.client else ""):
            text, status = "Only from this machine: the server has no token.\n", 403
        elif not knows_token(token, connection.headers.getlist("authorization")):
            text, status = "Authorization: Bearer TOKEN is needed.\n", 401
        else:
            return None
        self._host.count_refusal(Connection(_address(connection)), RefusalError("unauthorized", "token"))
        await asyncio.sleep(WRONG_TOKEN_S)
        return PlainTextResponse(text, status_code=status)


def _sender(socket: WebSocket) -> Callable[[bytes | str], Awaitable[None]]:
    async def send(reply: bytes | str) -> None:
        await (socket.send_text(reply) if isinstance(reply, str) else socket.send_bytes(reply))

    return send


def _address(connection: HTTPConnection) -> str:
    return str(tuple(connection.client)) if connection.client else "unknown"
