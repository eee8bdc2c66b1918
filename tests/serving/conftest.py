"""A server of the tiny policy on a free port, and robots in miniature to be driven through it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from foreact.control.packing import pack, unpack
from foreact.control.protocol import VERSION, Start, Started, encode, read_facts, read_reply
from foreact.policy.policy import Policy
from foreact.serving.background import serving
from foreact.serving.config import Batching, Limits, ServerConfig
from foreact.serving.server import PolicyServer
from foreact.types import Observation

TRAINED = dict(forward_dynamics=True, action_prefixes=True)


class Robot:
    """Its joints go where they are told; its cameras show them."""

    def __init__(self, num_commands: int, seed: int = 0):
        self._left, self.commands = num_commands, []
        self._joints = np.random.default_rng(seed).uniform(0.2, 0.8, 3).astype(np.float32)

    @property
    def done(self) -> bool:
        return not self._left

    @property
    def state(self) -> np.ndarray:
        return self._joints

    def observe(self) -> Observation:
        shade = int(40 + 8 * len(self.commands) + 60 * float(self._joints[0])) % 256
        images = {camera: np.full((16, 8, 3), shade // n, np.uint8) for n, camera in enumerate(("top", "wrist"), 1)}
        return Observation(images=images, state=self._joints, time_s=0.0)

    def act(self, action: np.ndarray) -> None:
        self._joints = np.asarray(action, np.float32)
        self.commands.append(action.copy())
        self._left -= 1


class Raw:
    """A client that says what it is told to, message by message."""

    def __init__(self, address: str, **settings):
        self.socket: ClientConnection = connect(address, compression=None, max_size=None, **settings)
        self.facts = read_facts(self.socket.recv(timeout=10))

    def ask_bytes(self, data: bytes | str):
        """The answer, read; raises what the server refused with."""
        self.socket.send(data)
        return read_reply(self.socket.recv(timeout=20))

    def ask(self, message):
        return self.ask_bytes(encode(message))

    def infer(self, observation: dict):
        """As openpi's client does."""
        self.socket.send(pack(observation))
        reply = self.socket.recv(timeout=20)
        return reply if isinstance(reply, str) else unpack(reply)

    def start(self, *, mode: str = "grounded", seed: int = 0, sent_s: float = 0.0, **changes) -> Started:
        usual = Start(
            version=VERSION,
            instruction="push it",
            mode=mode,
            seed=seed,
            imagined=False,
            session=None,
            token=None,
            sent_s=sent_s,
        )
        return self.ask(replace(usual, **changes))

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()


class House:
    """Servers, as many as a test wants, closed when it ends."""

    Robot, Raw, trained = Robot, Raw, TRAINED

    def __init__(self, stack: ExitStack):
        self._stack = stack

    def batching(self, **changes) -> Batching:
        return Batching(**changes)

    def server(self, policy: Policy, *, limits: dict | None = None, **settings) -> PolicyServer:
        return self._stack.enter_context(self.running(policy, limits=limits, **settings))

    @contextmanager
    def running(self, policy: Policy, *, limits: dict | None = None, **settings) -> Iterator[PolicyServer]:
        config = ServerConfig(**{"port": 0, "limits": Limits(**(limits or {}))} | settings)
        with serving(policy, config) as server:
            yield server


@pytest.fixture
def house() -> Iterator[House]:
    with ExitStack() as stack:
        yield House(stack)


@pytest.fixture
def observed(tiny) -> Callable[..., dict]:
    """An observation as an openpi client sends it."""

    def make(number: int = 0, **changes) -> dict:
        images = {f"observation/images/{c}": clip[0] for c, clip in tiny.images(1, seed=number).items()}
        state = np.array([0.1, -0.2, 0.5], np.float32)
        return images | {"observation/state": state, "prompt": "push it"} | changes

    return make
