"""One connection to a policy server at a time, with a limit on how long anything may take."""

import secrets
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from inspect import signature
from ipaddress import ip_address
from math import isfinite
from pathlib import Path
from random import Random
from threading import Timer
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from websockets.exceptions import InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from foreact.control.protocol import Facts, RefusalError, encode, read_facts, read_reply
from foreact.errors import ConfigurationError

MAX_ANSWER_BYTES = 2**28
_NO_PROXY: dict[str, Any] = {"proxy": None} if "proxy" in signature(connect).parameters else {}
"""What keeps websockets from using the environment's proxy; before version 15 it used none."""
BROKEN = (OSError, WebSocketException, EOFError)
"""What is raised when there is no connection, or no longer one, or no answer in time; asking again may help."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a client waits, and how often it tries."""

    connect_s: float = 5.0
    """Seconds for one attempt to connect."""
    answer_s: float = 10.0
    """Seconds for one answer; then the connection is given up and the question asked again over another."""
    give_up_s: float = 30.0
    """Seconds for a question, all attempts together."""
    first_retry_s: float = 0.05
    """Seconds until the second attempt; each pause is twice the last, at most."""
    longest_retry_s: float = 1.0
    """Seconds that a pause is at most."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not (isfinite(value) and value > 0):
                raise ConfigurationError(f"Patience.{each.name}", got=value, allowed="more than 0 s")

    def pauses_s(self, rng: Random) -> Iterator[float]:
        """Yield seconds to wait between attempts: doubling, each drawn from its upper half so that robots part."""
        pause_s = self.first_retry_s
        while True:
            yield pause_s * rng.uniform(0.5, 1.0)
            pause_s = min(2 * pause_s, self.longest_retry_s)


class Link:
    """Asks one question at a time. Any failure but a refusal breaks the connection; `open` makes another."""

    def __init__(self, address: str, *, token: str | None, certificate: Path | None, patience: Patience):
        """Connect to nothing yet.

        Args:
            address: "host:port", "ws://host:port" or "wss://host:port".
            token: What the server asks for, if it does.
            certificate: Of the server or who signed it (PEM), if the machine does not trust it anyway.
            patience: How long to wait.

        Raises:
            ConfigurationError: The certificate cannot be read, or the address is not encrypted next to one.
        """
        self.address = address if "://" in address else f"ws://{address}"
        self._headers = {"X-Session-Id": secrets.token_hex(8)}  # who shares robots out leads them back where they were
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._ssl, self._patience = self._context(certificate), patience
        self._connection: ClientConnection | None = None
        self._most_bytes = float("inf")

    def _context(self, certificate: Path | None) -> ssl.SSLContext | None:
        if certificate is None:
            return None
        if not self.address.startswith("wss://"):
            raise ConfigurationError("address with a certificate", got=self.address, allowed="wss://...")
        try:
            return ssl.create_default_context(cafile=str(certificate))
        except OSError as error:
            raise ConfigurationError(f"certificate {certificate}", got=error, allowed="a readable PEM file") from error

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment names for the server's address; None for servers nearby, reached directly."""
        host = urlsplit(self.address).hostname or ""
        with suppress(ValueError):
            if ip_address(host).is_private:
                return None
        if host == "localhost" or "." not in host:
            return None
        scheme = "https" if self.address.startswith("wss:") else "http"
        return None if proxy_bypass(host) else getproxies().get(scheme)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def open(self) -> Facts:
        """Connect; return what the server says of itself.

        Raises:
            RefusalError: The server does not want us, or is none of ours.
            ConfigurationError: The address is none.
            BROKEN: It cannot be reached now.
        """
        self.close()
        patience = self._patience
        try:
            self._connection = connection = connect(
                self.address,
                **({} if self.proxy else _NO_PROXY),
                ssl=self._ssl,
                additional_headers=self._headers,
                compression=None,
                open_timeout=patience.connect_s,
                close_timeout=1.0,
                max_size=MAX_ANSWER_BYTES,
            )
        except InvalidURI as error:
            raise ConfigurationError("address of the server", got=self.address, allowed="host:port") from error
        except InvalidStatus as error:
            if error.response.status_code in (401, 403):
                cure = "pass the token that the server was started with"
                raise RefusalError("unauthorized", f"policy server at {self.address}", cure=cure) from error
            raise
        with self._breaking():
            facts = read_facts(connection.recv(timeout=patience.connect_s))
        self._most_bytes = facts.limits.get("message_bytes", self._most_bytes)
        return facts

    def ask(self, message: Any) -> Any:
        """Send a message; return the answer.

        Raises:
            RefusalError: The server refused; the connection is as it was.
            BROKEN: There is no connection, it broke, or no answer came in time; the connection is closed.
        """
        connection = self._connection
        if connection is None:
            raise ConnectionError("not connected")
        data = encode(message)
        if len(data) > self._most_bytes:
            cure = "send smaller pictures: see images of Client"
            raise RefusalError("too_large", "bytes of a message", got=len(data), allowed=self._most_bytes, cure=cure)
        with self._breaking():
            timer = Timer(self._patience.answer_s, _cut, [connection])  # sending knows no timeout of its own
            timer.daemon = True
            timer.start()
            try:
                connection.send(data)
            finally:
                timer.cancel()
            answer = connection.recv(timeout=self._patience.answer_s)
        return read_reply(answer)

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.cut()
            raise

    def cut(self) -> None:
        """Drop the connection at once, whatever another thread is doing with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _cut(connection)
            connection.close()

    def close(self) -> None:
        """Close the connection, if there is one, as one does."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _cut(connection: ClientConnection) -> None:
    with suppress(OSError):  # it was closed already
        connection.socket.shutdown(socket.SHUT_RDWR)
