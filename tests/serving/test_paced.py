"""What one connection may send, and all of them together, before anything of it is answered."""

import socket
import struct
import time
from contextlib import ExitStack

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from foreact.control.packing import pack, unpack
from foreact.control.protocol import Begin, RefusalError, Step
from foreact.serving.paced import host_of

PING = struct.pack("!BB4s", 0x89, 0x80, bytes(4))
FRAGMENT, MORE = (struct.pack("!BB4s", opcode, 0x80, bytes(4)) for opcode in (0x02, 0x00))
STATE = np.array([0.1, -0.2, 0.5], np.float32)
NONE = np.zeros((0, 3), np.float32)


def head(num_bytes: int) -> bytes:
    """The head of a frame that promises so many bytes."""
    return struct.pack("!BBQ4s", 0x82, 0x80 | 127, num_bytes, bytes(4))


def ended(client) -> int | None:
    """The code with which the server closes the connection; None: it said none."""
    with pytest.raises((ConnectionClosed, ConnectionError)) as closed:
        while True:
            client.socket.recv(timeout=20)
    error = closed.value
    return error.rcvd.code if isinstance(error, ConnectionClosed) and error.rcvd is not None else None


def is_closed(silent: socket.socket) -> bool:
    """Whether the server has closed it, or does so within 10 s."""
    silent.settimeout(10)
    try:
        return not silent.recv(1)
    except ConnectionError:
        return True


def drops(server, reason: str) -> float:
    return server.host.metrics.dropped.labels(reason)._value.get()


def drive(tiny, client, *, turns: int) -> str:
    """Drive a robot for some turns; return the name of its session."""
    name = client.start(mode="grounded").session
    images = {camera: clip[0] for camera, clip in tiny.images(1).items()}
    client.ask(Begin(session=name, sequence=1, sent_s=0.0, images=images, state=STATE))
    for sequence in range(2, 2 + turns):
        again(tiny, client, name, sequence)
    return name


def again(tiny, client, name: str, sequence: int):
    return client.ask(
        Step(
            session=name,
            sequence=sequence,
            sent_s=0.0,
            images=tiny.images(4, seed=sequence),
            executed=tiny.actions(8, seed=sequence),
            under_way=NONE,
            prefix=NONE,
        )
    )


def test_a_few_pings_are_answered_and_many_end_the_connection(tiny, house, observed) -> None:
    server = house.server(tiny.policy())
    with house.Raw(server.address) as client:
        for _ in range(5):
            assert client.socket.ping().wait(10)
        assert client.infer(observed())["actions"].shape == (8, 3)
        client.socket.socket.sendall(PING * 20_000)
        assert ended(client) in (1008, None)
    assert drops(server, "too many pings") == 1
    counted = server.host.metrics
    assert counted.chunks._value.get() == 1


def test_a_message_in_few_fragments_is_one_and_in_very_many_ends_the_connection(tiny, house, observed) -> None:
    server = house.server(tiny.policy(), limits={"frames_per_s": 1e6})
    data = pack(observed())
    with house.Raw(server.address) as client:
        client.socket.send([data[start : start + 100] for start in range(0, len(data), 100)])
        assert unpack(client.socket.recv(timeout=20))["actions"].shape == (8, 3)
        client.socket.socket.sendall(FRAGMENT + MORE * 20_000)
        ended(client)
    with house.Raw(server.address) as client:
        assert client.infer(observed())["actions"].shape == (8, 3)


def test_frames_beyond_the_rate_are_read_later(tiny, house, observed) -> None:
    server = house.server(tiny.policy(), limits={"frames_per_s": 100.0})
    data = pack(observed())
    with house.Raw(server.address) as client:
        begun_s = time.monotonic()
        pieces = [data[start : start + 4] for start in range(0, 1000, 4)] + [data[1000:]]
        client.socket.send(pieces)
        assert unpack(client.socket.recv(timeout=20))["actions"].shape == (8, 3)
    assert time.monotonic() - begun_s > 0.4  # 251 frames, of which 200 may come at once


def test_bytes_beyond_the_rate_are_read_later(tiny, house, observed) -> None:
    server = house.server(tiny.policy(), limits={"bytes_per_s": 20_000.0})
    large = observed() | {"x": np.zeros(50_000, np.uint8)}
    with house.Raw(server.address) as client:
        begun_s = time.monotonic()
        assert isinstance(client.infer(large), dict)
        assert isinstance(client.infer(observed()), dict)
    assert time.monotonic() - begun_s > 0.4


def test_a_message_that_does_not_arrive_whole_in_time_ends_the_connection(tiny, house, observed) -> None:
    server = house.server(tiny.policy(), limits={"message_s": 0.5})
    with house.Raw(server.address) as slow, house.Raw(server.address) as other:
        slow.socket.socket.sendall(head(100_000) + bytes(50_000))
        assert ended(slow) in (1008, None)
        time.sleep(0.6)
        assert other.infer(observed())["actions"].shape == (8, 3)  # who says nothing has not begun a message
    assert drops(server, "a message did not arrive whole in time") == 1


def test_what_all_clients_send_is_bounded_together_and_robots_come_last(tiny, house) -> None:
    limits = {"message_bytes": 100_000, "held_bytes": 250_000}
    server = house.server(tiny.policy(**house.trained), limits=limits)
    with house.Raw(server.address) as robot, ExitStack() as stack:
        name = drive(tiny, robot, turns=1)
        hoarders = [stack.enter_context(house.Raw(server.address)) for _ in range(6)]
        for each in hoarders:
            each.socket.socket.sendall(head(100_000) + bytes(90_000))
        assert again(tiny, robot, name, 3).actions.shape == (8, 3)
        deadline_s = time.monotonic() + 20
        while drops(server, "too much is arriving") < 4:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        assert again(tiny, robot, name, 4).actions.shape == (8, 3)
        assert drops(server, "too much is arriving") == 4  # two of six find room
    with house.Raw(server.address) as client:  # what the others held is free again
        drive(tiny, client, turns=1)


def test_sockets_that_say_nothing_make_room_for_those_that_do(tiny, house, observed) -> None:
    server = house.server(tiny.policy(), limits={"strangers": 4})
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(20)]
        with house.Raw(server.address) as client:
            assert client.infer(observed())["actions"].shape == (8, 3)
        assert is_closed(silent[0])
    assert drops(server, "too many connections wait to be let in") >= 16


def test_a_socket_that_says_nothing_is_closed_soon(tiny, house) -> None:
    server = house.server(tiny.policy(), limits={"open_s": 0.3})
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        assert is_closed(silent)


def test_a_connection_that_nobody_uses_makes_room(tiny, house, observed) -> None:
    server = house.server(tiny.policy(**house.trained), limits={"connections": 2, "spare_s": 2.0})
    with house.Raw(server.address) as robot:
        name = drive(tiny, robot, turns=1)
        idle = house.Raw(server.address)
        with pytest.raises(InvalidStatus) as refused:
            connect(server.address)
        assert refused.value.response.status_code == 503
        time.sleep(2.1)
        with house.Raw(server.address) as newcomer:
            assert ended(idle) == 1013
            assert newcomer.infer(observed())["actions"].shape == (8, 3)
            assert again(tiny, robot, name, 3).actions.shape == (8, 3)


def test_one_address_leaves_connections_to_others(tiny, house) -> None:
    """Every address that begins with 127 is this machine's; here two of them stand for two others."""
    server = house.server(tiny.policy(), limits={"connections": 4})
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr("foreact.serving.server.is_this_machine", lambda host: False)

        def come(source: str):
            made = connect(server.address, source_address=(source, 0), compression=None)
            return stack.enter_context(made)

        for _ in range(3):
            come("127.0.0.2")
        with pytest.raises(InvalidStatus) as refused:
            come("127.0.0.2")
        assert refused.value.response.status_code == 503
        come("127.0.0.3")


def test_a_large_message_of_a_wrong_type_is_refused_before_it_is_converted(tiny, house, observed) -> None:
    server = house.server(tiny.policy())
    numbers = np.ones(400_000, ">f8")
    with house.Raw(server.address) as client:
        stored = client.infer(observed() | {"observation/images/top": numbers})
        assert "bad_observation" in stored and "uint8" in stored
        stored = client.infer(observed() | {"observation/state": numbers})
        assert "bad_observation" in stored and "state" in stored
        assert client.infer(observed())["actions"].shape == (8, 3)


def test_the_limit_of_a_message_is_the_policys_own(tiny, house) -> None:
    server = house.server(tiny.policy())
    with house.Raw(server.address) as client:
        assert client.facts.limits["message_bytes"] == 4 * 2**20
        with pytest.raises((ConnectionClosed, RefusalError)):
            client.ask_bytes(bytes(4 * 2**20 + 1))


def test_addresses_without_their_ports() -> None:
    assert host_of(("10.0.0.1", 5)) == "10.0.0.1"
    assert host_of(("fe80::1", 5, 0, 0)) == "fe80::1"
    assert host_of(None) == "None"
