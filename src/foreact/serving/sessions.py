"""Whose sessions there are, and what each was told last."""

import hmac
import secrets
from asyncio import Task
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from foreact.control.protocol import RefusalError, Started
from foreact.policy.controllers import PolicyController
from foreact.serving.admission import is_this_machine
from foreact.serving.config import Limits

_CATCH_UP_S = 2.0
_LEAST_MOVED_S = 0.1
_KNOWN_SEQUENCE = 2


class Clocks:
    """A client's clock and ours, which have nothing in common but that both go at the same pace."""

    def __init__(self) -> None:
        self._least_s = inf
        """The least difference there was, which is that of a message that came at once."""

    def note(self, sent_s: float, arrival_s: float) -> None:
        """Take in when a message was sent, by its clock, and when it came, by ours."""
        self._least_s = min(self._least_s, arrival_s - sent_s)

    def check(self, sent_s: float, arrival_s: float, most_s: float) -> None:
        """Refuse a message that was longer under way than others, by more than `most_s`.

        Raises:
            RefusalError: stale.
        """
        self.note(sent_s, arrival_s)
        age_s = arrival_s - sent_s - self._least_s
        if age_s > most_s:
            cure = "the robot has moved on: send it anew, with the present time, if it still holds"
            raise RefusalError("stale", "age of a message", got=f"{age_s:.1f} s", allowed=f"{most_s:g} s", cure=cure)


class Pace:
    """Whether one who asks for actions asks faster than a robot executes them: a simulator, or a flood.

    It is served all the same, after the robots that move in real time.
    """

    def __init__(self) -> None:
        self._robot_s = -inf
        """Up to when it has moved, if it never stood still, by our clock."""

    def is_ahead(self, moved_s: float, now_s: float) -> bool:
        """Return whether a robot cannot have moved `moved_s` seconds since it was asked last.

        A clock that is a tenth too fast is forgiven, and so is catching up after a pause, by up to `_CATCH_UP_S`.
        """
        self._robot_s = max(self._robot_s, now_s - _CATCH_UP_S) + 0.9 * max(moved_s, _LEAST_MOVED_S)
        return self._robot_s > now_s


@dataclass(eq=False)
class Connection:
    """One client, as long as it is connected."""

    address: str
    """Where it comes from, for the log."""
    host: str = "127.0.0.1"
    """The same without the port: all clients of one machine have it in common."""
    drop: Callable[[str], None] = lambda _: None
    """Closes it, saying why."""
    last_used_s: float = field(default_factory=monotonic)
    """When it was last answered by anything but a refusal, or came."""
    sessions: int = 0
    """Sessions that are its own."""
    drives: bool = False
    """Whether a robot is, or was, driven over it."""
    clocks: Clocks = field(default_factory=Clocks)
    """When its messages were sent."""
    typed: bool = False
    """Whether its last message that could be read was one of our protocol, rather than openpi's."""
    answering: bool = False
    """Whether an answer is being computed or sent."""
    pace: Pace = field(default_factory=Pace)
    """Of its openpi messages."""
    previous_total_ms: float | None = None
    """How long the last answer to an openpi message took."""

    def is_spare(self, spare_s: float) -> bool:
        """Return whether it makes room for a newcomer: it has no session, and nothing useful was said for a while."""
        return not self.sessions and not self.answering and monotonic() - self.last_used_s > spare_s


@dataclass(kw_only=True, eq=False)
class ServedSession:
    """A robot's session, and what a broken connection must not lose."""

    name: str
    """Public."""
    token: str = field(repr=False)
    """Its secret."""
    controller: PolicyController
    """Its own; used by the inference thread."""
    imagined: bool
    """Whether answers carry latents."""
    owner: Connection | None
    """Whose it is now; None: the connection broke."""
    host: str
    """The address that began it, or took it up last."""
    last_used_s: float
    """When it was last asked something, or lost its connection."""
    started_s: float
    """When it began."""
    pace: Pace = field(default_factory=Pace)
    """At which it is asked."""
    begun: bool = False
    """Whether it has seen a first observation."""
    sequence: int = 0
    """The number answered last."""
    answer: bytes = b""
    """That answer."""
    under_way: tuple[int, "Task[bytes]"] | None = None
    """The number being answered, and its answer to come."""

    @property
    def is_known(self) -> bool:
        """Whether a robot was driven by it: it has got a chunk, seen what became of it, and asked again."""
        return self.sequence >= _KNOWN_SEQUENCE

    @property
    def started(self) -> Started:
        """What its owner is told."""
        return Started(
            session=self.name,
            token=self.token,
            sequence=self.sequence,
            waits=self.controller.waits,
            inpaints=self.controller.inpaints,
        )


class Sessions:
    """All of them. Used on the event loop alone."""

    def __init__(self, limits: Limits, *, now: Callable[[], float] = monotonic):
        """Have none."""
        self._limits, self._now = limits, now
        self._all: dict[str, ServedSession] = {}
        self._reserved: Counter[str] = Counter()
        """Places kept for sessions that are being made, by address."""
        self.num_removed = 0
        """Sessions that have ended."""

    def __len__(self) -> int:
        return len(self._all) + self._reserved.total()

    def reserve(self, owner: Connection) -> None:
        """Keep a place for a session that is being made; where there is none, one that nobody uses makes room.

        Raises:
            RefusalError: busy: there are as many as may be.
        """
        if owner.sessions >= self._limits.sessions_per_client:
            allowed, cure = self._limits.sessions_per_client, "stop one"
            raise RefusalError("busy", "sessions of this client", got=owner.sessions, allowed=allowed, cure=cure)
        num_here, most_here = self._count_of(owner.host), self._limits.sessions_per_address
        if num_here >= most_here and not is_this_machine(owner.host):
            cure = "stop one, or allow more altogether: --max-sessions"
            raise RefusalError("busy", "sessions of this address", got=num_here, allowed=most_here, cure=cure)
        if len(self) >= self._limits.sessions:
            spare = self._spare()
            if spare is None:
                allowed, cure = self._limits.sessions, "try again later"
                raise RefusalError("busy", "sessions", got=len(self), allowed=allowed, cure=cure)
            self.remove(spare)
        self._reserved[owner.host] += 1
        owner.sessions += 1

    def _count_of(self, host: str) -> int:
        return sum(each.host == host for each in self._all.values()) + self._reserved[host]

    def _spare(self) -> ServedSession | None:
        """Return the session that makes room for a newcomer, if any does; what never drove a robot goes first."""
        now_s = self._now()
        spare = [each for each in self._all.values() if each.under_way is None and self._is_spare(each, now_s)]
        return min(spare, key=lambda each: (each.is_known, each.last_used_s), default=None)

    def _is_spare(self, session: ServedSession, now_s: float) -> bool:
        limits = self._limits
        if not session.is_known:  # who only asks again and again, and drives nothing, gains no time by it
            return session.owner is None or now_s - session.started_s > limits.spare_s
        return now_s - session.last_used_s > (limits.keep_s if session.owner is None else limits.grace_s)

    def release(self, owner: Connection) -> None:
        """Give a kept place back."""
        self._reserved[owner.host] -= 1
        owner.sessions -= 1

    def add(self, controller: PolicyController, owner: Connection, *, imagined: bool) -> ServedSession:
        """Put a session in the place that was kept for it."""
        self._reserved[owner.host] -= 1
        session = ServedSession(
            name=secrets.token_hex(8),
            token=secrets.token_urlsafe(32),
            controller=controller,
            imagined=imagined,
            owner=owner,
            host=owner.host,
            last_used_s=self._now(),
            started_s=self._now(),
        )
        self._all[session.name] = session
        return session

    def own(self, name: str, owner: Connection) -> ServedSession:
        """Return a session of this connection's.

        Raises:
            RefusalError: unknown_session or not_your_session.
        """
        session = self._find(name)
        if session.owner is not owner:
            raise RefusalError("not_your_session", "session", got=name[:40], cure="take it up with its token: start")
        session.last_used_s = self._now()
        return session

    def take_up(self, name: str, token: str, owner: Connection) -> ServedSession:
        """Return a session that is this connection's from now on.

        Raises:
            RefusalError: unknown_session, or not_your_session: another token.
        """
        session = self._find(name)
        if not hmac.compare_digest(session.token.encode(), token.encode()):
            raise RefusalError("not_your_session", "token of the session", got="another")
        if session.owner is not owner:
            if session.owner is not None:
                session.owner.sessions -= 1
            session.owner, session.host = owner, owner.host
            owner.sessions += 1
        session.last_used_s = self._now()
        return session

    def abandon(self, owner: Connection) -> None:
        """The connection broke: its sessions wait to be taken up."""
        for session in self._all.values():
            if session.owner is owner:
                session.owner, session.last_used_s = None, self._now()
        owner.sessions = 0

    def remove(self, session: ServedSession) -> None:
        """End a session."""
        if self._all.pop(session.name, None) is None:
            return
        self.num_removed += 1
        if session.owner is not None:
            session.owner.sessions -= 1
            session.owner = None

    def remove_idle(self) -> list[ServedSession]:
        """End those whose time ran out; return them."""
        now_s = self._now()
        ended = [each for each in self._all.values() if each.under_way is None and self._overdue(each, now_s)]
        for session in ended:
            self.remove(session)
        return ended

    def _overdue(self, session: ServedSession, now_s: float) -> bool:
        limit_s = self._limits.grace_s if session.owner is None else self._limits.idle_s
        return now_s - session.last_used_s > limit_s

    def _find(self, name: str) -> ServedSession:
        session = self._all.get(name)
        if session is None:
            raise RefusalError("unknown_session", "session", got=name[:40], cure="start a new one")
        return session
