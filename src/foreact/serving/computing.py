"""Chunks of several robots computed as one batch, such that what one of them asks cannot harm the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from foreact.control.controller import Turn
from foreact.control.protocol import RefusalError
from foreact.errors import CapacityError, ForeactError, InputError
from foreact.policy.controllers import PolicyController, proceed_together
from foreact.policy.policy import Policy
from foreact.types import ActionChunk, Observation

_SHORT_OF_MEMORY = (CapacityError, MemoryError, torch.OutOfMemoryError)


class BrokenSessionError(Exception):
    """A session is in no known state any more; its cause says why."""


@dataclass(kw_only=True)
class Question:
    """One chunk to compute: the first of a session, or the next."""

    controller: PolicyController | Callable[[], PolicyController]
    """Whose; or what makes it, for one who asks once."""
    given: Observation | Turn
    """The first observation, or a turn."""


class _Attempt:
    """A question, and what its session was before it was tried."""

    def __init__(self, question: Question):
        made = question.controller
        self.controller = made if isinstance(made, PolicyController) else made()
        session = self.controller.session
        self._streams = {camera: stream.copy() for camera, stream in session.streams.items()}
        self._noise = session.rollout.generator.get_state()
        self._num_before = session.rollout.num_observed
        if isinstance(question.given, Turn):
            self.turn, self.first = question.given, None
            per_frame = self.controller.policy.embodiment.timing.actions_per_latent_frame
            self._num_expected = self._num_before + len(self.turn.executed) // per_frame
        else:
            self.turn, self.first = nothing_happened(self.controller.policy), question.given
            self._num_expected = self._num_before + 1

    def observe_first(self) -> None:
        """Take in the first observation, if this is one; then only a prediction is left to do."""
        if self.first is not None:
            self.controller.observe_first(self.first)

    def again(self) -> ActionChunk:
        """Compute alone what failed in a batch: all of it if nothing had been taken in, else what is left."""
        num_observed = self.controller.session.rollout.num_observed
        if num_observed == self._num_before:
            self._restore()
            self.observe_first()
            return self.controller.proceed(self.turn)
        if num_observed != self._num_expected:
            raise RuntimeError("a turn was taken in half")
        none = {camera: clip[:0] for camera, clip in self.turn.images.items()}
        return self.controller.proceed(replace(self.turn, images=none, executed=self.turn.executed[:0]))

    def failure(self, error: Exception) -> Exception:
        """Return what to tell: a refusal if the session is as it was before, else that it is broken."""
        if self.controller.session.rollout.num_observed == self._num_before:
            self._restore()
            if (refused := refusal(error)) is not None:
                return refused
        broken = BrokenSessionError(str(error))
        broken.__cause__ = error
        return broken

    def _restore(self) -> None:
        session = self.controller.session
        session.streams = {camera: stream.copy() for camera, stream in self._streams.items()}
        session.rollout.generator.set_state(self._noise)


def compute(questions: Sequence[Question]) -> list[ActionChunk | Exception]:
    """Return for each question the chunk, as its controller alone would answer, or why there is none.

    What is raised for one is found out by computing them one by one. The exceptions are `RefusalError`, after which
    the session is as if nothing had been asked, and `BrokenSessionError`.
    """
    answers: dict[int, ActionChunk | Exception] = {}
    attempts: dict[int, _Attempt] = {}
    for place, question in enumerate(questions):
        try:
            attempt = _Attempt(question)
        except Exception as error:
            answers[place] = refusal(error) or BrokenSessionError(str(error))
            continue
        try:
            attempt.observe_first()
            attempts[place] = attempt
        except Exception as error:
            answers[place] = attempt.failure(error)
    answers |= _compute_together(attempts)
    return [answers[place] for place in range(len(questions))]


def _compute_together(attempts: dict[int, _Attempt]) -> dict[int, ActionChunk | Exception]:
    if not attempts:
        return {}
    try:
        together = list(attempts.values())
        chunks = proceed_together([each.controller for each in together], [each.turn for each in together])
        return dict(zip(attempts, chunks, strict=True))
    except Exception:
        return {place: _compute_again(attempt) for place, attempt in attempts.items()}


def _compute_again(attempt: _Attempt) -> ActionChunk | Exception:
    try:
        return attempt.again()
    except Exception as error:
        return attempt.failure(error)


def refusal(error: Exception) -> RefusalError | None:
    """Return what a client is told of an error that it can do something about; None if it is ours."""
    if isinstance(error, RefusalError):
        return error
    if isinstance(error, _SHORT_OF_MEMORY):
        return RefusalError("busy", "memory of the server", got="none left", cure="try again, or with fewer sessions")
    if isinstance(error, InputError):
        return RefusalError("bad_observation", str(error))
    return RefusalError("bad_message", str(error)) if isinstance(error, ForeactError) else None


def nothing_happened(policy: Policy) -> Turn:
    """Return a turn in which nothing was seen or done: all that is left to do is to predict."""
    none = np.zeros((0, policy.embodiment.num_dofs), np.float32)
    return Turn(images={}, executed=none, under_way=none, prefix=none)
