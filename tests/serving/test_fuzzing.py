"""Messages that were cut or changed, one after another, at a server that has somebody else to serve."""

from time import monotonic

import numpy as np
import pytest

from foreact.control.controller import Turn
from foreact.control.packing import pack
from foreact.control.protocol import Begin, Chunk, Observe, Predict, RefusalError, Step, encode
from foreact.errors import InputError
from foreact.policy.controllers import PolicyController
from foreact.types import Observation

STATE = np.array([0.1, -0.2, 0.5], np.float32)
NONE = np.zeros((0, 3), np.float32)
TURNS = 10
"""Of the robot next to them."""


def turn(tiny, number: int) -> dict:
    empty = {"under_way": NONE, "prefix": NONE}
    return {"images": tiny.images(4, seed=number), "executed": tiny.actions(8, seed=number), **empty}


def first(tiny) -> dict:
    return {"images": {camera: clip[0] for camera, clip in tiny.images(1).items()}, "state": STATE}


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_another_robot_gets_what_it_would_alone(count: int, tiny, house, observed, mutated) -> None:
    policy = tiny.policy(**house.trained)
    alone = PolicyController(policy, "push it", mode="grounded", seed=3)
    server = house.server(policy, limits={"messages_per_s": 1e6, "bytes_per_s": 1e12})
    rng, num_answered, num_refused = np.random.default_rng(0), 0, 0
    with house.Raw(server.address) as robot, house.Raw(server.address) as other:
        session = robot.start(seed=3, sent_s=monotonic()).session
        got = robot.ask(Begin(session=session, sequence=1, sent_s=monotonic(), **first(tiny)))
        np.testing.assert_array_equal(got.actions, alone.begin(Observation(time_s=0.0, **first(tiny))).actions)
        name, sequence = other.start(sent_s=monotonic()).session, 1
        for number in range(count):
            about = {"session": name, "sequence": sequence, "sent_s": monotonic()}
            messages = [
                Begin(**about, **first(tiny)),
                Step(**about, **turn(tiny, 1)),
                Observe(**about, images=tiny.images(4), executed=tiny.actions(8), state=None),
                Predict(**about),
            ]
            data = mutated(rng, [*map(encode, messages), pack(observed())])
            try:
                answer = other.ask_bytes(data)
                num_answered += 1
                if isinstance(answer, Chunk) and answer.session == name:
                    sequence = answer.sequence + 1
            except (RefusalError, InputError):  # or an answer to openpi's message, which is not read here
                num_refused += 1
            if number % (count // TURNS) == 0:
                asked = number // (count // TURNS) + 2
                got = robot.ask(Step(session=session, sequence=asked, sent_s=monotonic(), **turn(tiny, asked)))
                np.testing.assert_array_equal(got.actions, alone.proceed(Turn(**turn(tiny, asked))).actions)
        assert other.start(sent_s=monotonic()).session != name, "whoever sent them is still welcome"
    assert num_refused > count / 2 and num_answered > 0
