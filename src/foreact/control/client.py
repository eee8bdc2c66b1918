"""A robot under a policy that runs elsewhere: a controller like any other, over the network. Needs no torch.

    with Client("gpu.lab:8000", "put the cube in the bin", mode="grounded") as client:
        drive(robot, client, config, clock=clock, worker=ThreadWorker(clock))

The worker's thread waits for answers; the control loop never does. When the connection breaks, the client connects
again and takes its session up; a question that was not answered is asked again under its number, which the server
answers from what it said before if it had taken it in. So no turn is taken twice and no action decided twice.

When the server has lost the session (it was started anew, or the session's time ran out), its history is gone: 1. the
turn at hand is answered without actions, so that the robot executes what is decided and stands still; 2. the next turn,
with nothing under way, begins a new session from the last pictures and from the state, which is what `read_state` says
now; without it the last command, if a robot that follows its commands has that for its state; else the first state,
which is told in the log. A robot that waits for every chunk anyway does the second at once.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from threading import Event, Lock
from types import TracebackType
from typing import Any

import numpy as np

from foreact.control.controller import Turn
from foreact.control.link import BROKEN, Link, Patience
from foreact.control.protocol import VERSION, Begin, Chunk, Facts, RefusalError, Start, Started, Step, Stop
from foreact.errors import ForeactError, InputError
from foreact.types import ActionChunk, Observation

_log = logging.getLogger(__name__)
_AGAIN = ("busy", "shutting_down", "stale")
"""Refusals that pass with time."""
_GONE = ("unknown_session", "not_your_session", "out_of_order", "replayed", "internal")
"""Refusals after which the session is of no use."""
_MOST_LOSSES = 3
Images = Mapping[str, np.ndarray]


class ServerError(ForeactError):
    """A policy server that cannot be reached, or does not answer."""


class _LostError(Exception):
    """The server does not know the session, or can do nothing with it."""


class Client:
    """One robot's session on a policy server; a `Controller`. Its calls may take their time and come from a thread."""

    def __init__(
        self,
        address: str,
        instruction: str,
        *,
        mode: str = "grounded",
        seed: int = 0,
        token: str | None = None,
        certificate: Path | None = None,
        images: Callable[[Images], Images] | None = None,
        read_state: Callable[[], np.ndarray] | None = None,
        imagined: bool = False,
        patience: Patience | None = None,
    ):
        """Connect, and start a session.

        Args:
            address: "host:port", or "wss://host:port" where the server has a certificate.
            instruction: What to do, in words.
            mode: How the robot is controlled, as `foreact.policy.controllers` has it.
            seed: Of the policy's noise.
            token: What the server asks for, if it does.
            certificate: The server's (PEM), if this machine does not trust it anyway.
            images: Makes the pictures that are sent, uint8 [time, height, width, 3] per camera of the policy, from
                those that the robot took: other names, a crop, a smaller size. None: as they are.
            read_state: Returns the robot's state now; asked only if the server has lost the session.
            imagined: Whether chunks shall carry the latents they were decoded from.
            patience: How long to wait, how often to try.

        Raises:
            ServerError: It cannot be reached.
            RefusalError: It does not want us, or does not know the mode.
        """
        self._link = Link(address, token=token, certificate=certificate, patience=patience or Patience())
        self._patience, self._rng = patience or Patience(), Random()
        self._wanted = {"instruction": instruction, "mode": mode, "seed": seed, "imagined": imagined}
        self._images, self._read_state = images or (lambda taken: taken), read_state
        self._closing, self._asking = Event(), Lock()
        self._session: Started | None = None
        self._sequence, self._lost = 0, False
        self._pictures: dict[str, np.ndarray] = {}
        self._state, self._last_command = np.zeros(0, np.float32), None
        self.facts: Facts
        """What the server said of itself and its policy."""
        self._waits, self._inpaints = False, False
        self._persist(lambda: None)

    @property
    def waits(self) -> bool:
        """Whether the robot stands still while a chunk is computed."""
        return self._waits

    @property
    def inpaints(self) -> bool:
        """Whether a chunk can go on from actions that are decided already."""
        return self._inpaints

    def begin(self, observation: Observation) -> ActionChunk:
        """Return the first chunk.

        Raises:
            InputError: A camera of the policy is missing.
            ServerError: There was no answer in time.
            RefusalError: The server does not accept the observation.
        """
        self._see({camera: image[None] for camera, image in observation.images.items()})
        self._state, self._last_command = np.asarray(observation.state, np.float32), None
        return self._begin()

    def proceed(self, turn: Turn) -> ActionChunk:
        """Return the next chunk, or one without actions: to see first, or because the session was lost.

        Raises:
            InputError: A camera of the policy is missing.
            ServerError: There was no answer in time.
            RefusalError: The server does not accept the turn.
        """
        images = self._see(turn.images)
        if len(turn.executed):
            self._last_command = turn.executed[-1]
        if not self._lost:
            try:
                return self._ask(
                    Step,
                    images=images,
                    executed=np.asarray(turn.executed, np.float32),
                    under_way=np.asarray(turn.under_way, np.float32),
                    prefix=np.asarray(turn.prefix, np.float32),
                )
            except _LostError as error:
                _log.warning("the policy server lost the session (%s); a new one begins", error)
                self._lost = True
        if len(turn.under_way) or len(turn.prefix):
            return ActionChunk(actions=np.asarray(turn.executed[:0], np.float32))
        self._state = self._present_state()
        return self._begin()

    def close(self) -> None:
        """End the session; a question under way, in another thread, is given up."""
        self._closing.set()
        if self._asking.acquire(blocking=False):
            try:
                if self._session is not None and self._link.is_open:
                    self._link.ask(Stop(session=self._session.session))
                self._link.close()
            except (*BROKEN, ForeactError):  # it will see for itself that we are gone
                pass
            finally:
                self._asking.release()
        self._link.cut()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> ActionChunk:
        num_losses = 0
        while True:
            try:
                chunk = self._ask(Begin, images=self._pictures, state=self._state)
                self._lost = False
                return chunk
            except _LostError as error:
                num_losses += 1
                if num_losses == _MOST_LOSSES:
                    got = f"the session was lost {num_losses} times running: {error}"
                    raise ServerError(f"policy server at {self._link.address}", got=got) from error

    def _ask(self, kind: type, **content: Any) -> ActionChunk:
        """Ask the session's next question until it is answered."""

        def once() -> Chunk:
            assert self._session is not None
            name = self._session.session
            number = self._sequence + 1
            reply = self._link.ask(kind(session=name, sequence=number, sent_s=time.monotonic(), **content))
            if not isinstance(reply, Chunk) or reply.sequence != number:
                raise RefusalError("bad_message", "answer of the server", got=reply, allowed=f"chunk {number}")
            return reply

        chunk = self._persist(once)
        self._sequence = chunk.sequence
        return ActionChunk(
            actions=chunk.actions,
            imagined_latents=chunk.imagined_latents,
            foreseen_latents=chunk.foreseen_latents,
            disagreement=chunk.disagreement,
            stage_ms=chunk.stage_ms,
        )

    def _persist(self, once: Callable[[], Any]) -> Any:
        """Return what the server answers in the session, after as many attempts as there is patience for."""
        where = f"policy server at {self._link.address}"
        with self._asking:
            give_up_s, pauses_s = time.monotonic() + self._patience.give_up_s, self._patience.pauses_s(self._rng)
            while not self._closing.is_set():
                try:
                    self._connect()
                    return once()
                except BROKEN as error:
                    self._link.cut()
                    failure: Exception = error
                except RefusalError as error:
                    failure = self._judge(error)
                pause_s = next(pauses_s)
                if time.monotonic() + pause_s > give_up_s:
                    got, cure = (
                        str(failure) or type(failure).__name__,
                        "see that it runs and can be reached: foreact serve"
                        + (f"; the environment's proxy {self._link.proxy} was used" if self._link.proxy else ""),
                    )
                    raise ServerError(where, got=got, cure=cure) from failure
                self._closing.wait(pause_s)
            raise ServerError(where, got="a client that was closed")

    def _judge(self, error: RefusalError) -> RefusalError:
        """Return a refusal that passes with time; raise any other, as what it means."""
        if error.code in _AGAIN:
            return error
        if error.code in _GONE and self._session is not None:
            self._session, self._sequence = None, 0
            raise _LostError(error) from error
        raise error

    def _connect(self) -> None:
        """Have a connection, and the session on it: the one there was, or a new one if there was none."""
        if not self._link.is_open:
            self._meet(self._link.open())
        elif self._session is not None:
            return
        known = self._session
        started = self._link.ask(
            Start(
                version=VERSION,
                session=known.session if known else None,
                token=known.token if known else None,
                sent_s=time.monotonic(),
                **self._wanted,
            )
        )
        self._session, self._waits, self._inpaints = started, started.waits, started.inpaints

    def _meet(self, facts: Facts) -> None:
        """Keep what the server says; refuse another robot's policy where ours was before."""
        if before := getattr(self, "facts", None):
            for name in ("embodiment", "action_names", "state_names", "actions_per_latent_frame", "action_hz"):
                got, allowed = getattr(facts, name), getattr(before, name)
                if got != allowed:
                    self._link.cut()
                    raise ServerError(f"{name} of the server after connecting again", got=got, allowed=allowed)
        self.facts = facts

    def _see(self, taken: Images) -> dict[str, np.ndarray]:
        """Return the pictures of the policy's cameras; keep the last."""
        images = self._images(taken)
        if missing := [camera for camera in self.facts.cameras if camera not in images]:
            allowed = ", ".join(self.facts.cameras)
            raise InputError(f"images lack cameras {', '.join(missing)}", got=", ".join(images), allowed=allowed)
        seen = {camera: images[camera] for camera in self.facts.cameras}
        if all(map(len, seen.values())):
            self._pictures = {camera: clip[-1] for camera, clip in seen.items()}
        return seen

    def _present_state(self) -> np.ndarray:
        """Return where the robot stands, as well as can be known."""
        if self._read_state is not None:
            return np.asarray(self._read_state(), np.float32)
        if self.facts.state_is_action and self._last_command is not None:
            return np.asarray(self._last_command, np.float32)
        _log.warning("nobody says where the robot stands: its first state is taken; give the client read_state")
        return self._state
