"""From a message's bytes to what is asked: everything that takes time with a large message, to be done off the loop."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foreact.control.packing import unpack
from foreact.control.protocol import RefusalError, read_request
from foreact.errors import InputError
from foreact.serving.computing import refusal
from foreact.serving.intake import Intake
from foreact.serving.openpi import read_observation
from foreact.types import Observation


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one openpi observation asks for."""

    observation: Observation
    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message as it was understood."""

    typed: bool | None
    """Whether the client speaks our protocol; openpi's clients do not. None: the message could not be read."""
    message: Any
    """One of `protocol.FromRobot`, or `Asked`; a `RefusalError` where the message is wrong."""


def receive(data: bytes | str, intake: Intake) -> Received:
    """Return what a message asks; nothing of it is converted before its type is known to be right."""
    typed = None
    try:
        if isinstance(data, str):
            raise RefusalError("bad_message", "message", got="text", allowed="msgpack, in a binary message")
        plain = unpack(data)
        typed = not isinstance(plain, dict) or "type" in plain
        return Received(typed=typed, message=read_request(plain) if typed else _asked(plain, intake))
    except RefusalError as error:
        return Received(typed=typed, message=error)
    except InputError as error:
        return Received(typed=typed, message=RefusalError("bad_message", str(error)))


def _asked(plain: Mapping[Any, Any], intake: Intake) -> Asked:
    try:
        observation, prompt, seed = read_observation(plain, intake)
    except InputError as error:
        raise refusal(error) or error from error
    return Asked(observation=observation, prompt=prompt, seed=seed)
