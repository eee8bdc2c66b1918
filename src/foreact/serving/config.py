"""How a policy is served: where, to whom, and how much of everything."""

from dataclasses import dataclass, field, fields, replace
from math import ceil, isfinite
from pathlib import Path

from foreact.errors import ConfigurationError
from foreact.serving.admission import is_this_machine

LEAST_MESSAGE_BYTES, MOST_MESSAGE_BYTES = 4 * 2**20, 64 * 2**20
"""Between these a message's limit follows from the pictures of the policy's own cameras."""
OWN_DIALECT = "foreact"
_FRAMING_BYTES = 64 * 2**10
_SHARE_OF_ONE_ADDRESS = 0.75


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Beyond which the server refuses, or makes a client wait."""

    sessions: int = 64
    """Sessions altogether; each owns a cache."""
    sessions_per_client: int = 8
    """Sessions of one connection."""
    connections: int = 256
    """Connections altogether that were let in."""
    strangers: int = 64
    """TCP connections that have not been let in yet; beyond it the oldest of them is closed."""
    open_s: float = 5.0
    """Seconds within which a TCP connection must have become a websocket."""
    idle_s: float = 300.0
    """Seconds without a message after which a session is ended."""
    grace_s: float = 60.0
    """Seconds for which a session whose connection broke can be taken up."""
    spare_s: float = 5.0
    """Seconds without use after which a connection or a session that never drove a robot makes room for a newcomer."""
    keep_s: float = 15.0
    """Seconds for which the place of a robot that was driven is kept when its connection breaks, whoever waits."""
    stale_s: float = 5.0
    """Seconds under way after which a message is refused."""
    message_bytes: int | None = None
    """Bytes of a message; None: what `turn_chunks` chunks of the policy's own pictures need, 4 to 64 MiB."""
    message_s: float = 10.0
    """Seconds within which a message must have arrived whole."""
    held_bytes: int | None = None
    """Bytes of messages that are arriving or wait for their answers, of all connections together; None: 8 messages.
    Beyond it the connection that holds most is closed; one over which a robot is driven only if there is no other."""
    picture_pixels: int = 2048 * 2048
    """Pixels of a camera frame."""
    turn_chunks: int = 8
    """Chunks' worth of actions executed in one turn."""
    messages_per_s: float = 50.0
    """Messages of one connection; more are read later."""
    bytes_per_s: float = 32.0 * 2**20
    """Bytes of one connection; more are read later."""
    others_bytes_per_s: float = 64.0 * 2**20
    """Bytes of all connections together that drive no robot; more are read later."""
    frames_per_s: float = 1000.0
    """Websocket frames of one connection: a message may come in several. More are read later."""
    control_frames_per_s: float = 10.0
    """Pings, pongs and closes of one connection; one that sends more is closed."""
    queue: int = 256
    """Requests that wait to be computed."""
    send_s: float = 10.0
    """Seconds in which a client must take an answer."""
    drain_s: float = 10.0
    """Seconds for which requests under way are waited for at the end."""
    hung_s: float = 300.0
    """Seconds of computing one batch after which the server says that it is not well; nothing is broken off."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not (isfinite(value) and value > 0):
                raise ConfigurationError(f"Limits.{each.name}", got=value, allowed="more than 0")

    @property
    def sessions_per_address(self) -> int:
        """Sessions of all connections from one address, unless it is this machine: the rest is kept for others."""
        return ceil(_SHARE_OF_ONE_ADDRESS * self.sessions)

    @property
    def connections_per_address(self) -> int:
        """Connections from one address, unless it is this machine: the rest is kept for others."""
        return ceil(_SHARE_OF_ONE_ADDRESS * self.connections)

    def fitted(self, chunk_bytes: int) -> "Limits":
        """Return these limits with every `None` filled in.

        Args:
            chunk_bytes: What one chunk's pictures of all the policy's cameras take at the policy's own sizes.
        """
        wanted = self.turn_chunks * chunk_bytes + _FRAMING_BYTES
        message_bytes = self.message_bytes or min(max(wanted, LEAST_MESSAGE_BYTES), MOST_MESSAGE_BYTES)
        return replace(self, message_bytes=message_bytes, held_bytes=self.held_bytes or 8 * message_bytes)


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How requests of several robots are computed together."""

    most: int = 16
    """Requests of a batch; 1: one by one."""
    wait_ms: float = 5.0
    """Milliseconds for which others are waited for before a batch is begun, if that makes nobody late."""

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ConfigurationError("Batching.most", got=self.most, allowed="1 or more")
        if not (isfinite(self.wait_ms) and 0 <= self.wait_ms <= 50):
            raise ConfigurationError("Batching.wait_ms", got=self.wait_ms, allowed="0 to 50")


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where the server listens, and how."""

    host: str = "127.0.0.1"
    """Address or name; anything but this machine's own needs a token."""
    port: int = 8000
    """0: one that is free."""
    token: str | None = field(default=None, repr=False)
    """What clients must know; None: they need nothing."""
    certificate: Path | None = None
    """PEM file; with `key`, connections are encrypted."""
    key: Path | None = None
    """PEM file."""
    name: str = "policy"
    """Of the policy, for people."""
    dialect: str = OWN_DIALECT
    """Whose messages are spoken: our own and openpi's, or a name in `foreact.serving.dialects`."""
    limits: Limits = field(default_factory=Limits)
    """How much of everything."""
    batching: Batching = field(default_factory=Batching)
    """What is computed together."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigurationError("port", got=self.port, allowed="0 to 65535")
        if (self.certificate is None) != (self.key is None):
            got = "one without the other"
            raise ConfigurationError("certificate and key", got=got, allowed="both, or neither")
        token = self.token
        if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable()):
            cure = 'make one: python -c "import secrets; print(secrets.token_urlsafe(32))" > token.txt'
            raise ConfigurationError("token", got="a weak one", allowed="16 or more printable characters", cure=cure)
        if token is None and not self.is_private:
            raise ConfigurationError(
                "host without a token",
                got=self.host,
                allowed="127.0.0.1",
                cure="whoever reaches this port could drive your robots: serve with --token-file (and --cert, --key)",
            )

    @property
    def is_private(self) -> bool:
        """Whether only this machine can connect."""
        return is_this_machine(self.host)
