"""What is answered to whom: every message of every connection comes through here. Knows nothing of sockets."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any

import numpy as np

from foreact.control.controller import Turn
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
)
from foreact.policy.controllers import PolicyController, check_mode, observe_together, with_room
from foreact.policy.policy import Policy
from foreact.serving.computing import BrokenSessionError, Question, nothing_happened, refusal
from foreact.serving.config import ServerConfig
from foreact.serving.engine import Computed, Engine
from foreact.serving.facts import chunk_bytes, describe_policy
from foreact.serving.intake import Intake
from foreact.serving.logs import logger
from foreact.serving.memory import give_back
from foreact.serving.metrics import Metrics
from foreact.serving.openpi import write_refusal, write_reply
from foreact.serving.queue import Urgency
from foreact.serving.reading import Asked, Received, receive
from foreact.serving.sessions import Connection, ServedSession, Sessions
from foreact.serving.trials import Trial

_TIDY_S = 0.5
_LARGE_BYTES = 2**16
"""From which on a message is not read on the event loop."""
_MOST_TOLD = 1000
"""Characters of a refusal's message."""


class Host:
    """A policy, its sessions, and the thread that computes. Used on one event loop."""

    def __init__(self, policy: Policy, config: ServerConfig):
        """Start the thread."""
        self._policy = with_room(policy)  # all sessions share one, so that they can be computed together
        self.policy = self._policy
        """The policy that answers."""
        self.limits = limits = config.limits.fitted(chunk_bytes(policy))
        """Beyond which it refuses, with every size filled in."""
        self.metrics = Metrics()
        self.sessions = Sessions(limits)
        self.facts = describe_policy(policy, replace(config, limits=limits))
        self.num_connections = 0
        self.on_trial: Callable[[Trial], None] = lambda trial: None
        """Called with each episode that a client reports as ended, on the event loop: it must be quick."""
        self.draining = False
        """Whether nothing new is begun: the server is about to end."""
        self._intake = Intake(self._policy, limits)
        self._reader = ThreadPoolExecutor(1, "foreact-read")
        self._engine = Engine(
            config.batching, self.metrics, most_waiting=limits.queue, num_clients=lambda: self.num_connections
        )

    @property
    def trouble(self) -> str | None:
        """Why nobody should be sent here, in a few words; None: all is well."""
        return "shutting down" if self.draining else self.hung

    @property
    def hung(self) -> str | None:
        """Why another process should take this one's place, in a few words; None: it computes, or waits."""
        busy_s = self._engine.busy_s
        return f"hung: computing for {busy_s:.0f} s" if busy_s > self.limits.hung_s else None

    def join(self, connection: Connection) -> Connection:
        """Return the new client's connection, which is counted from now on."""
        self._count_connections(1)
        return connection

    def leave(self, connection: Connection) -> None:
        """The client is gone; its sessions wait to be taken up."""
        self._count_connections(-1)
        self.sessions.abandon(connection)

    def close(self) -> None:
        """Compute what waits, then end; to be called outside the event loop."""
        self._engine.close()
        self._reader.shutdown()

    def tidy(self) -> None:
        """End sessions whose time ran out."""
        for session in self.sessions.remove_idle():
            logger.info("session ended: idle", extra={"session": session.name})
        self.metrics.sessions.set(len(self.sessions))

    async def keep_tidy(self, also: Callable[[], None] = lambda: None) -> None:
        """End sessions whose time ran out, give their memory back and call `also`, again and again until cancelled."""
        loop, given_back = asyncio.get_running_loop(), self.sessions.num_removed
        while True:
            await asyncio.sleep(_TIDY_S)
            self.tidy()
            also()
            if self.sessions.num_removed != given_back:
                given_back = self.sessions.num_removed
                await loop.run_in_executor(self._reader, give_back)

    async def call(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns on the thread that computes.

        Raises:
            RefusalError: What was asked cannot be used, or too many wait.
            BrokenSessionError: Something else went wrong.
        """
        if self.draining:
            raise RefusalError("shutting_down", "policy server", got="is shutting down", cure="connect again later")
        return await self._wait(lambda: self._engine.call(work, urgency=Urgency.STANDS))

    async def answer(self, connection: Connection, data: bytes | str) -> bytes | str:
        """Return what a message is answered with; a text only for openpi's clients, when they are refused."""
        arrival_s, received = monotonic(), None
        # Until a client has said what it speaks, a refusal is a text: every client takes that for an error.
        typed = connection.typed
        try:
            received = await self._receive(data)
            if received.typed is not None:
                typed = connection.typed = received.typed
            if self.draining:
                raise RefusalError("shutting_down", "policy server", got="is shutting down", cure="connect again later")
            if isinstance(received.message, RefusalError):
                raise received.message
            work = self._respond if received.typed else self._infer
            answer = await work(connection, received.message, arrival_s)
            connection.last_used_s = monotonic()
            return answer
        except Exception as error:
            refused = refusal(error)
            if refused is None:
                logger.error("internal error", exc_info=error, extra={"client": connection.address})
                refused = RefusalError("internal", "the server failed at this; its log says why")
        finally:
            self.metrics.sessions.set(len(self.sessions))
        self.count_refusal(connection, refused)
        details = Error(code=refused.code, message=str(refused)[:_MOST_TOLD])
        return encode(details) if typed else write_refusal(details)

    async def _receive(self, data: bytes | str) -> Received:
        """Understand a message; a large one is read by a thread of its own, so that the others are not kept waiting."""
        if len(data) < _LARGE_BYTES:
            return receive(data, self._intake)
        return await asyncio.get_running_loop().run_in_executor(self._reader, receive, data, self._intake)

    def count_drop(self, reason: str) -> None:
        """Put on record that a connection was closed by us."""
        self.metrics.dropped.labels(reason.partition(":")[0]).inc()

    def count_refusal(self, connection: Connection, refused: RefusalError) -> None:
        """Put a refusal on record."""
        self.metrics.errors.labels(refused.code).inc()
        extra = {"client": connection.address, "code": refused.code, "why": str(refused)[:_MOST_TOLD]}
        logger.warning("refused", extra=extra)

    async def _infer(self, connection: Connection, asked: Asked, arrival_s: float) -> bytes:
        # One who asks once has a history of one latent frame: memory for a whole window would be held for nothing.
        make = partial(PolicyController, self._policy, asked.prompt, mode="synchronous", seed=asked.seed, window=1)
        question = Question(controller=make, given=asked.observation)
        timing = self._policy.embodiment.timing
        moved_s = timing.actions_per_latent_frame / timing.action_hz  # it does not say what it executed
        urgency = Urgency.AHEAD if connection.pace.is_ahead(moved_s, arrival_s) else Urgency.ONCE
        computed: Computed = await self._wait(lambda: self._engine.ask(question, urgency=urgency))
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
        connection.clocks.check(message.sent_s, arrival_s, self.limits.stale_s)
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
            controller = await self._wait(lambda: self._engine.call(make, urgency=Urgency.STANDS))
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
            if session.owner is not None:
                session.owner.drives |= session.is_known
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
            urgency = self._urgency(session, len(message.executed), 0.0)
            return partial(self._observe, session, message.sequence, work, urgency)
        executed, moves_s, earlier = 0, 0.0, list[Turn]()
        if isinstance(message, Begin):
            given = self._intake.observation(message)
        elif isinstance(message, Predict):
            given = nothing_happened(self._policy)
        else:
            assert isinstance(message, Step)
            given = self._intake.turn(message, session.controller)
            executed = len(given.executed)
            *earlier, given = session.controller.pieces(given)
            moves_s = (len(given.under_way) + len(given.prefix)) / self._policy.embodiment.timing.action_hz
        question = Question(controller=session.controller, given=given)
        urgency = self._urgency(session, executed, moves_s)
        ask = partial(self._engine.ask, question, moves_s=moves_s, urgency=urgency)
        return partial(self._ask, session, message.sequence, earlier, ask)

    def _urgency(self, session: ServedSession, num_executed: int, moves_s: float) -> Urgency:
        moved_s = num_executed / self._policy.embodiment.timing.action_hz
        if session.pace.is_ahead(moved_s, monotonic()):
            return Urgency.AHEAD
        return Urgency.MOVES if moves_s else Urgency.STANDS

    def _observation(self, session: ServedSession, message: Observe) -> Callable[[], float | None]:
        """Return what takes the message in, and tells how far it is from what was imagined."""
        controller = session.controller
        if session.begun:
            turn = self._intake.passed(message)
            return lambda: observe_together([controller], [turn])[0]
        return partial(controller.observe_first, self._intake.first(message))

    async def _observe(
        self, session: ServedSession, number: int, work: Callable[[], float | None], urgency: Urgency
    ) -> bytes:
        asked_s = monotonic()
        away = await self._wait(lambda: self._engine.call(work, urgency=urgency, asker=session.controller))
        if away is not None:
            self.metrics.disagreement.observe(away)
        timing = {"total_ms": (monotonic() - asked_s) * 1e3}
        return encode(Observed(session=session.name, sequence=number, disagreement=away, server_timing=timing))

    async def _ask(
        self, session: ServedSession, number: int, earlier: list[Turn], ask: Callable[[], "Future[Computed]"]
    ) -> bytes:
        await self._take_in(session, earlier)
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

    async def _take_in(self, session: ServedSession, pieces: list[Turn]) -> None:
        """Let a long turn be seen piece by piece, so that robots that move get their answers in between.

        Raises:
            RefusalError: The first piece was refused: the session is as it was.
            BrokenSessionError: A later one was: the turn was taken in half.
        """
        for number, piece in enumerate(pieces):
            work = partial(session.controller.observe_piece, piece)
            try:
                await self._wait(
                    lambda work=work: self._engine.call(work, urgency=Urgency.STANDS, asker=session.controller)
                )
            except RefusalError as error:
                if number == 0:
                    raise
                raise BrokenSessionError(str(error)) from error

    async def _wait(self, ask: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(ask())

    def _count_connections(self, more: int) -> None:
        self.num_connections += more
        self.metrics.connections.set(self.num_connections)


def _checked(computed: Computed) -> Computed:
    if not np.isfinite(computed.chunk.actions).all():
        raise BrokenSessionError("the policy's actions are not finite numbers")
    return computed
