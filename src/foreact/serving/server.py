"""The sockets: who may connect, how much may come and how fast, and how it all ends."""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

from prometheus_client import CONTENT_TYPE_LATEST
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from foreact.control.protocol import RefusalError
from foreact.errors import ConfigurationError
from foreact.policy.policy import Policy
from foreact.serving.admission import Guesses, is_this_machine, knows_token
from foreact.serving.config import OWN_DIALECT, ServerConfig
from foreact.serving.conversation import converse
from foreact.serving.dialects import make_conversation
from foreact.serving.dialects.dialect import converse_in_dialect
from foreact.serving.host import Host
from foreact.serving.logs import logger, socket_logger
from foreact.serving.paced import TRY_AGAIN_LATER, Gate, PacedConnection
from foreact.serving.sessions import Connection
from foreact.serving.trials import Trial

_TOO_BIG, _GOING_AWAY = 1009, 1001
_POLL_S = 0.01
_UNREAD_MESSAGES = 2
"""Of one connection, kept until they are read; more stay where they come from."""
_CLOSE_S = 2.0
"""Seconds in which a client must answer that the connection is to be closed."""
_BACKLOG = 32
"""TCP connections that are accepted in one go."""


class PolicyServer:
    """Serves one policy from `open` to `close`, on the event loop that these are called on."""

    def __init__(self, policy: Policy, config: ServerConfig, *, on_trial: Callable[[Trial], None] | None = None):
        """Listen to nobody yet.

        Args:
            policy: Served.
            config: Where, and how.
            on_trial: Called with each episode that a client reports as ended, on the event loop: it must be quick.

        Raises:
            ConfigurationError: The certificate or its key cannot be used.
        """
        self._config, self._ssl = config, _context(config)
        self._policy, self._on_trial = policy, on_trial
        self._connections: set[Connection] = set()
        self.host: Host
        """What answers; from `open` on."""
        self._server: Server
        self._gate: Gate
        self._guesses: Guesses
        self._tidying: asyncio.Task[None]

    @property
    def port(self) -> int:
        """The port it listens on, once it does."""
        return next(iter(self._server.sockets)).getsockname()[1]

    @property
    def address(self) -> str:
        """What a client on this machine connects to, once it listens."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"{'ws' if self._ssl is None else 'wss'}://{host}:{self.port}"

    async def open(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: It cannot be listened there.
        """
        config = self._config
        self.host = Host(self._policy, config)
        if self._on_trial is not None:
            self.host.on_trial = self._on_trial
        limits = self.host.limits
        if config.dialect != OWN_DIALECT:
            await self._check_dialect()
        self._gate = Gate(limits, self.host.count_drop)
        self._guesses = Guesses()
        try:
            self._server = await serve(
                self._converse,
                config.host,
                config.port,
                ssl=self._ssl,
                process_request=self._admit,
                origins=[None],  # a page in a browser on this machine is not to drive its robots
                compression=None,
                max_size=limits.message_bytes,
                max_queue=_UNREAD_MESSAGES,
                open_timeout=limits.open_s,
                close_timeout=_CLOSE_S,
                backlog=_BACKLOG,
                create_connection=self._gate.connection,  # type: ignore[arg-type]
                server_header=None,
                logger=socket_logger,
            )
        except OSError as error:
            await asyncio.to_thread(self.host.close)
            where = f"{config.host}:{config.port}"
            raise ConfigurationError(
                "address to listen on", got=where, allowed="a free port", cure=str(error)
            ) from error
        self._tidying = asyncio.create_task(self.host.keep_tidy(self._gate.check_times))
        logger.info("listening", extra={"address": self.address, "policy": self.host.facts.digest})

    async def _check_dialect(self) -> None:
        """Refuse a dialect that is unknown, or that cannot speak of the policy's robot, before anybody connects."""
        try:
            make_conversation(self._config.dialect, self.host)
        except ConfigurationError:
            await asyncio.to_thread(self.host.close)
            raise

    async def close(self) -> None:
        """Begin nothing new, finish what is being answered, then say good-bye (1001)."""
        self.host.draining = True
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._config.limits.drain_s
        while any(each.answering for each in self._connections) and loop.time() < until_s:
            await asyncio.sleep(_POLL_S)
        self._tidying.cancel()
        self._server.close(code=_GOING_AWAY, reason="the server is shutting down")
        await self._server.wait_closed()
        await asyncio.to_thread(self.host.close)
        logger.info("closed")

    async def _converse(self, socket: ServerConnection) -> None:
        assert isinstance(socket, PacedConnection)
        assert socket.client is not None
        connection = self.host.join(socket.client)
        self._connections.add(connection)
        try:
            messages, send = socket.messages(), partial(self._send, socket)
            if self._config.dialect == OWN_DIALECT:
                await converse(self.host, connection, self.host.limits, messages, send)
            else:
                conversation = make_conversation(self._config.dialect, self.host)
                await converse_in_dialect(conversation, connection, self.host.limits, messages, send)
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code == _TOO_BIG:
                most = f"up to {self.host.limits.message_bytes} bytes"
                self.host.count_refusal(connection, RefusalError("too_large", "message", allowed=most))
        finally:
            self._connections.discard(connection)
            self.host.leave(connection)

    async def _send(self, socket: ServerConnection, reply: bytes | str) -> None:
        """Send; a client that does not take it in time is dropped, and may come back."""
        try:
            async with asyncio.timeout(self._config.limits.send_s):
                await socket.send(reply)
        except TimeoutError:
            socket.transport.abort()
            logger.warning("dropped: does not read", extra={"client": str(socket.remote_address)})

    async def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        """Answer what is no websocket; turn away whom we do not want; None: come in."""
        path = urlsplit(request.path).path
        if path == "/healthz":
            trouble = self.host.trouble
            status = HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK
            return socket.respond(status, f"{trouble or 'OK'}\n")
        assert isinstance(socket, PacedConnection)
        if not knows_token(self._config.token, request.headers.get_all("Authorization")):
            return await self._turn_away(socket)
        if path == "/metrics":
            response = socket.respond(HTTPStatus.OK, self.host.metrics.text().decode())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = CONTENT_TYPE_LATEST
            return response
        if self.host.draining:
            return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "shutting down\n")
        if not self._has_room(socket):
            return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        drop = partial(socket.drop, TRY_AGAIN_LATER)
        socket.client = Connection(str(socket.remote_address), socket.host, drop)
        return None

    async def _turn_away(self, socket: PacedConnection) -> Response:
        """Answer a wrong token, the later the more of them come from one address."""
        self.host.count_refusal(Connection(str(socket.remote_address)), RefusalError("unauthorized", "token"))
        wait_s = self._guesses.wait_s(socket.host)
        if wait_s is None:
            return socket.respond(HTTPStatus.TOO_MANY_REQUESTS, "Too many wrong tokens.\n")
        await asyncio.sleep(wait_s)
        return socket.respond(HTTPStatus.UNAUTHORIZED, "Authorization: Bearer TOKEN is needed.\n")

    def _has_room(self, socket: PacedConnection) -> bool:
        """Return whether one more may come in; a connection that nobody uses makes room."""
        limits = self.host.limits
        if not is_this_machine(socket.host) and self._gate.num_admitted(socket.host) >= limits.connections_per_address:
            return False
        if self._gate.num_admitted() < limits.connections:
            return True
        spare = [each for each in self._connections if each.is_spare(limits.spare_s)]
        if spare:
            min(spare, key=lambda each: each.last_used_s).drop("its place is needed, and it did nothing")
        return bool(spare)


def _context(config: ServerConfig) -> ssl.SSLContext | None:
    if config.certificate is None or config.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.certificate, config.key)
    except OSError as error:  # ssl.SSLError is one
        got, allowed = f"{config.certificate}, {config.key}: {error}", "PEM files that belong together"
        raise ConfigurationError("certificate and key", got=got, allowed=allowed) from error
    return context
