"""What is answered to whom: every message of every connection comes through here. Knows nothing of sockets."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Any

import numpy as np

from foreact.control.packing import unpack
from foreact.control.protocol import (
    VERSION,
    Begin,
    Chunk,
    Error,
    Observe,
    Observed,
    Predict,
    RefusalError,
    Sequenced,
    Start,
    Step,
    Stop,
    Stopped,
    encode,
    read_request,
)
from foreact.errors import InputError
from foreact.policy.controllers import PolicyController, check_mode, observe_together, with_room
from foreact.policy.policy import Policy
from foreact.serving.computing import BrokenSessionError, Question, nothing_happened, refusal
from foreact.serving.config import ServerConfig
from foreact.serving.engine import Computed, Engine
from foreact.serving.facts import describe_policy
from foreact.serving.intake import Intake
from foreact.serving.logs import logger
from foreact.serving.metrics import Metrics
from foreact.serving.openpi import read_observation, write_refusal, write_reply
from foreact.serving.sessions import Connection, ServedSession, Sessions

_TIDY_S = 0.5
_MOST_TOLD = 1000
"""Characters of a refusal's message."""


class Host:
    """A policy, its sessions, and the thread that computes. Used on one event loop."""

    def __init__(self, policy: Policy, config: ServerConfig):
        """Start the thread."""
        self._policy = with_room(policy)  # all sessions share one, so that they can be computed together
        self._limits = config.limits
        self.metrics = Metrics()
        self.sessions = Sessions(config.limits)
        self.facts = describe_policy(policy, config)
        self.num_connections = 0
        self.draining = False
        """Whether nothing new is begun: the server is about to end."""
        self._intake = Intake(self._policy, config.limits)
        self._engine = Engine(
            config.batching, self.metrics, most_waiting=config.limits.queue, num_clients=lambda: self.num_connections
        )

    @property
    def trouble(self) -> str | None:
        """Why nobody should be sent here, in a few words; None: all is well."""
        return "shutting down" if self.draining else self.hung

    @property
    def hung(self) -> str | None:
        """Why another process should take this one's place, in a few words; None: it computes, or waits."""
        busy_s = self._engine.busy_s
        return f"hung: computing for {busy_s:.0f} s" if busy_s > self._limits.hung_s else None

    def join(self, address: str) -> Connection:
        """Return what is known of a new client."""
        self._count_connections(1)
        return Connection(address)

    def leave(self, connection: Connection) -> None:
        """The client is gone; its sessions wait to be taken up."""
        self._count_connections(-1)
        self.sessions.abandon(connection)

    def close(self) -> None:
        """Compute what waits, then end; to be called outside the event loop."""
        self._engine.close()

    def tidy(self) -> None:
        """End sessions whose time ran out."""
        for session in self.sessions.remove_idle():
            logger.info("session ended: idle", extra={"session": session.name})
        self.metrics.sessions.set(len(self.sessions))

    async def keep_tidy(self) -> None:
        """End sessions whose time ran out, until cancelled."""
        while True:
            await asyncio.sleep(_TIDY_S)
            self.tidy()

    async def answer(self, connection: Connection, data: bytes | str) -> bytes | str:
        """Return what a message is answered with; a text only for openpi's clients, when they are refused."""
        # Until a client has said what it speaks, a refusal is a text: every client takes that for an error.
        arrival_s, typed = monotonic(), connection.typed
        try:
            plain = _unpack(data)
            typed = connection.typed = not isinstance(plain, dict) or "type" in plain
            if self.draining:
                raise RefusalError("shutting_down", "policy server", got="is shutting down", cure="connect again later")
            if typed:
                return await self._respond(connection, read_request(plain), arrival_s)
            return await self._infer(connection, plain, arrival_s)
        except Exception as error:
            refused = refusal(error)
            if refused is None:
                logger.error("internal error", exc_info=error, extra={"client": connection.address})
                refused = RefusalError("internal", "the server failed at this; its log says why")
        finally:
            self.metrics.sessions.set(len(self.sessions))
        self.count_refusal(connection, refused)
        told = Error(code=refused.code, message=str(refused)[:_MOST_TOLD])
        return encode(told) if typed else write_refusal(told)

    def count_refusal(self, connection: Connection, refused: RefusalError) -> None:
        """Put a refusal on record."""
        self.metrics.errors.labels(refused.code).inc()
        extra = {"client": connection.address, "code": refused.code, "why": str(refused)[:_MOST_TOLD]}
        logger.warning("refused", extra=extra)

    async def _infer(self, connection: Connection, plain: Mapping[Any, Any], arrival_s: float) -> bytes:
        observation, prompt, seed = read_observation(plain, self._intake)
        # One who asks once has a history of one latent frame: memory for a whole window would be held for nothing.
        make = partial(PolicyController, self._policy, prompt, mode="synchronous", seed=seed, window=1)
        question = Question(controller=make, given=observation)
        timing = self._policy.embodiment.timing
        moved_s = timing.actions_per_latent_frame / timing.action_hz  # it does not say what it executed
        can_wait = connection.pace.is_ahead(moved_s, arrival_s)
        computed: Computed = await self._wait(lambda: self._engine.ask(question, can_wait=can_wait))
        previous_ms, connection.previous_total_ms = connection.previous_total_ms, (monotonic() - arrival_s) * 1e3
        return write_reply(_checked(computed), previous_ms)

    async def _respond(self, connection: Connection, message: Any, arrival_s: float) -> bytes:
        if isinstance(message, Start):
            connection.clocks.note(message.sent_s, arrival_s)
            return encode((await self._start(connection, message)).started)
        session = self.sessions.own(message.session, connection)
        if isinstance(message, Stop):
            self.sessions.remove(session)
            logger.info("session ended: stopped", extra={"session": session.name})
            return encode(Stopped(session=session.name))
        connection.clocks.check(message.sent_s, arrival_s, self._limits.stale_s)
        return await self._once(session, message)

    async def _start(self, connection: Connection, message: Start) -> ServedSession:
        if message.version != VERSION:
            cure = "install the same version of foreact on both sides"
            raise RefusalError("bad_message", "protocol", got=message.version, allowed=VERSION, cure=cure)
        if (message.session is None) != (message.token is None):
            raise RefusalError("bad_message", "session and token", got="one without the other", allowed="both or none")
        if message.session is not None and message.token is not None:
            session = self.sessions.take_up(message.session, message.token, connection)
            logger.info("session taken up", extra={"session": session.name, "client": connection.address})
            return session
        check_mode(self._policy, message.mode)
        make = partial(
            PolicyController,
            self._policy,
            message.instruction,
            mode=message.mode,  # type: ignore[arg-type]
            seed=message.seed,
        )
        self.sessions.reserve(connection)
        try:
            controller = await self._wait(lambda: self._engine.call(make))
        except BaseException:
            self.sessions.release(connection)
            raise
        session = self.sessions.add(controller, connection, imagined=message.imagined)
        extra = {"session": session.name, "client": connection.address, "mode": message.mode, "seed": message.seed}
        logger.info("session started", extra=extra | {"instruction": message.instruction[:200]})
        return session

    async def _once(self, session: ServedSession, message: Sequenced) -> bytes:
        """Answer a number: the next one by computing, the last one by what was answered then."""
        number, last = message.sequence, session.sequence
        if number == last and last:
            self.metrics.repeated.inc()
            return session.answer
        if session.under_way and session.under_way[0] == number:
            self.metrics.repeated.inc()
            return await asyncio.shield(session.under_way[1])
        if number <= last:
            raise RefusalError("replayed", "sequence number", got=number, allowed=last + 1)
        if number != last + 1 or session.under_way:
            allowed = f"{last + 1}, when what was asked before has been answered"
            raise RefusalError("out_of_order", "sequence number", got=number, allowed=allowed)
        task = asyncio.create_task(self._take(session, number, self._work(session, message)))
        session.under_way = number, task
        return await asyncio.shield(task)  # it is finished and kept even if the one who asked is gone

    async def _take(self, session: ServedSession, number: int, work: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            session.answer = await work()
            session.sequence, session.begun = number, True
            return session.answer
        except BrokenSessionError:
            self.sessions.remove(session)
            logger.error("session ended: broken", extra={"session": session.name})
            raise
        finally:
            session.under_way, session.last_used_s = None, monotonic()

    def _work(self, session: ServedSession, message: Sequenced) -> Callable[[], Awaitable[bytes]]:
        """Return what is to be awaited for the answer; the message is found right first."""
        first = isinstance(message, Begin) or (isinstance(message, Observe) and not session.begun)
        if first == session.begun:
            got = "a first observation" if first else f"{type(message).__name__.lower()} before one"
            raise RefusalError("bad_message", "order of messages", got=got, allowed="begin or observe, once, first")
        if isinstance(message, Observe):
            work = self._observation(session, message)
            can_wait = self._is_ahead(session, len(message.executed))
            return partial(self._observe, session, message.sequence, work, can_wait=can_wait)
        executed, moves_s = 0, 0.0
        if isinstance(message, Begin):
            given = self._intake.observation(message)
        elif isinstance(message, Predict):
            given = nothing_happened(self._policy)
        else:
            assert isinstance(message, Step)
            given = self._intake.turn(message, session.controller)
            executed = len(given.executed)
            moves_s = (len(given.under_way) + len(given.prefix)) / self._policy.embodiment.timing.action_hz
        question = Question(controller=session.controller, given=given)
        ask = partial(self._engine.ask, question, moves_s=moves_s, can_wait=self._is_ahead(session, executed))
        return partial(self._ask, session, message.sequence, ask)

    def _is_ahead(self, session: ServedSession, num_executed: int) -> bool:
        return session.pace.is_ahead(num_executed / self._policy.embodiment.timing.action_hz, monotonic())

    def _observation(self, session: ServedSession, message: Observe) -> Callable[[], float | None]:
        """Return what takes the message in, and tells how far it is from what was imagined."""
        controller = session.controller
        if session.begun:
            turn = self._intake.passed(message)
            return lambda: observe_together([controller], [turn])[0]
        return partial(controller.observe_first, self._intake.first(message))

    async def _observe(
        self, session: ServedSession, number: int, work: Callable[[], float | None], *, can_wait: bool
    ) -> bytes:
        asked_s = monotonic()
        away = await self._wait(lambda: self._engine.call(work, can_wait=can_wait))
        if away is not None:
            self.metrics.disagreement.observe(away)
        timing = {"total_ms": (monotonic() - asked_s) * 1e3}
        return encode(Observed(session=session.name, sequence=number, disagreement=away, server_timing=timing))

    async def _ask(self, session: ServedSession, number: int, ask: Callable[[], "Future[Computed]"]) -> bytes:
        computed: Computed = await self._wait(ask)
        chunk = _checked(computed).chunk
        return encode(
            Chunk(
                session=session.name,
                sequence=number,
                actions=chunk.actions,
                disagreement=chunk.disagreement,
                imagined_latents=chunk.imagined_latents if session.imagined else None,
                foreseen_latents=chunk.foreseen_latents if session.imagined else None,
                stage_ms=dict(chunk.stage_ms),
                server_timing=computed.server_timing,
            )
        )

    async def _wait(self, ask: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(ask())

    def _count_connections(self, more: int) -> None:
        self.num_connections += more
        self.metrics.connections.set(self.num_connections)


def _checked(computed: Computed) -> Computed:
    if not np.isfinite(computed.chunk.actions).all():
        raise BrokenSessionError("the policy's actions are not finite numbers")
    return computed


def _unpack(data: bytes | str) -> Any:
    if isinstance(data, str):
        raise RefusalError("bad_message", "message", got="text", allowed="msgpack, in a binary message")
    try:
        return unpack(data)
    except InputError as error:
        raise RefusalError("bad_message", str(error)) from error
