"""What a robot and a policy server say to each other: every message, read strictly.

The server speaks first: a map of facts (`read_facts`). Then each message of the robot is answered by one of the server.
A message is a msgpack map with a "type"; a map without one is an openpi observation, answered as openpi does. Messages
about a session carry a sequence number, one more than the last answered: a number that was answered already is answered
again, from what was said then, so that a message can be sent twice after a broken connection without being taken twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any, Literal, get_args

from foreact.control.config import ControlConfig
from foreact.control.fields import (
    READERS,
    Actions,
    Clips,
    MaybeLatents,
    MaybeState,
    Milliseconds,
    Pictures,
    State,
    accept,
    describe,
)
from foreact.control.limits import MotionLimits
from foreact.control.packing import pack, unpack
from foreact.errors import ConfigurationError, ForeactError, InputError

VERSION = 2
"""Of these messages; a server announces it, a client says it when it starts."""

Code = Literal[
    "bad_message",
    "bad_observation",
    "unknown_session",
    "not_your_session",
    "stale",
    "replayed",
    "out_of_order",
    "too_large",
    "busy",
    "unauthorized",
    "shutting_down",
    "internal",
]
CODES: tuple[str, ...] = get_args(Code)


class RefusalError(ForeactError):
    """A server's answer that is none: a code for programs, a message for people."""

    def __init__(self, code: Code, what: str, *, got: object = None, allowed: object = None, cure: str | None = None):
        """Compose the message; `code` says what a client is to do about it."""
        super().__init__(what, got=got, allowed=allowed, cure=cure)
        self.code: Code = code


@dataclass(frozen=True, kw_only=True)
class Start:
    """Begin a session, or take up one whose connection broke."""

    version: int
    """VERSION."""
    instruction: str
    """What to do, in words; of a session taken up, ignored like the mode and the seed."""
    mode: str
    """One of the modes that the server announced."""
    seed: int
    """Of the policy's noise."""
    imagined: bool
    """Whether answers shall carry imagined latents."""
    session: str | None
    """The session to take up; None: a new one."""
    token: str | None
    """Its secret, as the server gave it."""
    sent_s: float
    """The client's monotonic clock when this was sent, seconds."""


@dataclass(frozen=True, kw_only=True)
class Begin:
    """The first observation; answered by the first chunk. The robot stands still."""

    session: str
    sequence: int
    sent_s: float
    images: Pictures
    state: State


@dataclass(frozen=True, kw_only=True)
class Step:
    """A turn (`foreact.control.controller.Turn`); answered by a chunk, or one without actions: to see first."""

    session: str
    sequence: int
    sent_s: float
    images: Clips
    executed: Actions
    under_way: Actions
    prefix: Actions


@dataclass(frozen=True, kw_only=True)
class Observe:
    """What was seen and done, without asking for a chunk; the first one has one frame, no actions and a state."""

    session: str
    sequence: int
    sent_s: float
    images: Clips
    executed: Actions
    state: MaybeState


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Ask for the next chunk; the robot stands still."""

    session: str
    sequence: int
    sent_s: float


@dataclass(frozen=True, kw_only=True)
class Stop:
    """End a session."""

    session: str


@dataclass(frozen=True, kw_only=True)
class Started:
    """A session is yours."""

    session: str
    """Its name, no secret."""
    token: str
    """Its secret: who knows it can take the session up."""
    sequence: int
    """The last number answered; the next message has one more, or this one again."""
    waits: bool
    """Whether the robot stands still while a chunk is computed."""
    inpaints: bool
    """Whether a chunk can go on from actions that are decided already."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """The actions to execute next."""

    session: str
    sequence: int
    actions: Actions
    disagreement: float | None
    imagined_latents: MaybeLatents
    """Only if they were asked for at the start."""
    foreseen_latents: MaybeLatents
    """Only if they were asked for at the start."""
    stage_ms: Milliseconds
    """Per stage of computing."""
    server_timing: Milliseconds
    """queue_ms, infer_ms, batch_size."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What was observed has been taken in."""

    session: str
    sequence: int
    disagreement: float | None
    """Distance of what had been imagined of these frames from what was seen; None: nothing had been."""
    server_timing: Milliseconds


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The session is over."""

    session: str


@dataclass(frozen=True, kw_only=True)
class Error:
    """A refusal, as it goes over the wire."""

    code: str
    """One of CODES."""
    message: str
    """What was got, what is allowed, what to do."""


FromRobot = Start | Begin | Step | Observe | Predict | Stop
FromServer = Started | Chunk | Observed | Stopped | Error
Sequenced = Begin | Step | Observe | Predict

FROM_ROBOT: Mapping[str, type] = {kind.__name__.lower(): kind for kind in get_args(FromRobot)}
FROM_SERVER: Mapping[str, type] = {kind.__name__.lower(): kind for kind in get_args(FromServer)}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a server says of itself and its policy as soon as a client is connected."""

    version: int
    """Of its messages."""
    policy: str
    """Name of the policy."""
    digest: str
    """Short name of its weights."""
    embodiment: str
    """Name of the robot it drives."""
    action_names: list[str]
    """The entries of an action, in order."""
    action_units: list[str]
    """Their units."""
    motion_limits: Mapping[str, list[float | None]]
    """low, high, velocity and acceleration: for each a number per entry of an action; nil: the robot does not say."""
    unlimited_actions: list[str]
    """The entries whose limits the robot does not say, as far as it would have to; to be driven, it needs others."""
    state_names: list[str]
    """The entries of a state, in order."""
    state_is_action: bool
    """Whether a robot that follows its commands has the last one for its state."""
    cameras: Mapping[str, list[int]]
    """Camera name to height and width of the picture the policy sees; pictures of other sizes are resized."""
    action_hz: float
    """Actions executed per second."""
    camera_stride: int
    """Actions per camera frame."""
    actions_per_latent_frame: int
    """Actions per latent frame."""
    latent_frames_per_chunk: int
    """Latent frames whose actions a chunk holds."""
    modes: list[str]
    """What the policy was trained for."""
    limits: Mapping[str, float]
    """Sizes, counts and times beyond which the server refuses, by name."""

    def control_config(
        self, *, limits: MotionLimits | None = None, unlimited: bool = False, **settings: Any
    ) -> ControlConfig:
        """Return how a robot is driven at the policy's rates, and within limits.

        Args:
            limits: Of range, velocity and acceleration; None: those that the policy's robot has.
            unlimited: Drive without any: whatever the policy says is executed, however far and fast it goes.
            settings: The other fields of `ControlConfig`.

        Raises:
            ConfigurationError: The policy's robot does not say what its limits are, and none are given.
        """
        if limits is None and not unlimited:
            limits = self._known_limits()
        return ControlConfig(
            action_hz=self.action_hz,
            camera_stride=self.camera_stride,
            actions_per_latent_frame=self.actions_per_latent_frame,
            latent_frames_per_chunk=self.latent_frames_per_chunk,
            limits=None if unlimited else limits,
            **settings,
        )

    def _known_limits(self) -> MotionLimits:
        if self.unlimited_actions:
            raise ConfigurationError(
                f"motion limits of {self.embodiment!r}",
                got=f"none for {', '.join(self.unlimited_actions)}",
                allowed="low, high, velocity and acceleration of each action",
                cure="pass limits=MotionLimits(...); to drive without any, say unlimited=True",
            )
        unbounded = {"low": -inf, "high": inf, "velocity": inf, "acceleration": inf}
        given = {
            name: tuple(unbounded[name] if each is None else each for each in numbers)
            for name, numbers in self.motion_limits.items()
            if any(each is not None for each in numbers)
        }
        return MotionLimits(**given)


def encode(message: Any) -> bytes:
    """Return a message, or the facts, as bytes."""
    plain = {each.name: getattr(message, each.name) for each in fields(message)}
    return pack({"type": type(message).__name__.lower()} | plain)


def read_request(plain: Any) -> Any:
    """Return the robot's message (one of `FromRobot`) in unpacked plain data that has a "type".

    Raises:
        RefusalError: bad_message: it is none, or a field is missing, unknown or wrong.
    """
    return _read_kind(plain, FROM_ROBOT)


def read_reply(data: bytes | str) -> Any:
    """Return the server's answer (one of `FromServer`).

    Raises:
        RefusalError: What the server refused with; or bad_message: this is no answer.
    """
    if isinstance(data, str):
        raise RefusalError("bad_message", "answer of the server", got=repr(data[:200]), allowed="bytes")
    reply = _read_kind(_unpack(data), FROM_SERVER)
    if isinstance(reply, Error):
        if reply.code not in CODES:
            raise RefusalError("bad_message", "error code of the server", got=reply.code[:40], allowed=", ".join(CODES))
        raise RefusalError(reply.code, reply.message)  # type: ignore[arg-type]
    return reply


def read_facts(data: bytes | str) -> Facts:
    """Return what a server said first.

    Raises:
        RefusalError: bad_message: this is no server of ours, or one of another version.
    """
    plain = data if isinstance(data, str) else _unpack(data)
    if not isinstance(plain, dict) or plain.get("type") != "facts":
        raise RefusalError(
            "bad_message", "first message of the server", got=type(plain).__name__, allowed="foreact's facts"
        )
    if plain.get("version") != VERSION:
        cure = "install the same version of foreact on both sides"
        raise RefusalError(
            "bad_message", "protocol of the server", got=plain.get("version"), allowed=VERSION, cure=cure
        )
    return _read(Facts, plain)


def _unpack(data: bytes) -> Any:
    try:
        return unpack(data)
    except InputError as error:
        raise RefusalError("bad_message", str(error)) from error


def _read_kind(plain: Any, kinds: Mapping[str, type]) -> Any:
    name = plain.get("type") if isinstance(plain, dict) else None
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        got = repr(name)[:80] if isinstance(plain, dict) else type(plain).__name__
        raise RefusalError("bad_message", "type of a message", got=got, allowed=", ".join(kinds))
    return _read(kind, plain)


def _read(kind: type, plain: Mapping[Any, Any]) -> Any:
    names = {each.name: each.type for each in fields(kind)}
    given = {name for name in plain if name != "type"}
    if given != set(names):
        missing, unknown = sorted(set(names) - given), sorted(str(name)[:40] for name in given - set(names))[:8]
        got = "; ".join(f"{what} {', '.join(which)}" for what, which in (("no", missing), ("also", unknown)) if which)
        raise RefusalError("bad_message", f"fields of {kind.__name__.lower()!r}", got=got, allowed=", ".join(names))
    values = {}
    for name, hint in names.items():
        allowed, right = READERS[hint]
        if not right(plain[name]):
            what = f"{name} of {kind.__name__.lower()!r}"
            raise RefusalError("bad_message", what, got=describe(plain[name]), allowed=allowed)
        values[name] = float(plain[name]) if hint is float else accept(plain[name])  # a whole number is one, too
    return kind(**values)
