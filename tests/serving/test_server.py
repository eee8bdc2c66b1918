"""The sockets: who comes in, what is too much, how it ends; and that no client can hurt another."""

import asyncio
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from foreact.control.client import Client
from foreact.control.protocol import Predict, RefusalError
from foreact.errors import ConfigurationError
from foreact.serving.background import serving
from foreact.serving.config import ServerConfig
from foreact.serving.server import PolicyServer

TOKEN = "a secret that is long enough"


def get(server, path: str, **headers) -> tuple[int, str]:
    request = urllib.request.Request(server.address.replace("ws", "http", 1) + path, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def health(server, status: int) -> str:
    """Return what is told of the server's health once it has that status, which must be soon."""
    until_s = time.monotonic() + 10
    while (stored := get(server, "/healthz"))[0] != status:
        assert time.monotonic() < until_s, stored
        time.sleep(0.02)
    return stored[1]


def test_pages(tiny, house, observed) -> None:
    server = house.server(tiny.policy(), token=TOKEN)
    assert get(server, "/healthz") == (200, "OK\n")
    assert get(server, "/metrics")[0] == 401
    with house.Raw(server.address, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        client.infer(observed())
        client.infer({"prompt": "push"})
        status, text = get(server, "/metrics", Authorization=f"Bearer {TOKEN}")
    assert status == 200
    stored = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    expected = {
        "foreact_chunks_total": 1,
        "foreact_connections": 1,
        "foreact_batch_size_count": 1,
        'foreact_errors_total{code="bad_observation"}': 1,
        'foreact_errors_total{code="unauthorized"}': 1,
        'foreact_stage_seconds_count{stage="imagine"}': 1,
    }
    assert {name: float(stored[name]) for name in expected} == expected


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": f"Basic {TOKEN}"}]
)
def test_whoever_does_not_know_the_token_stays_out(tiny, house, headers: dict) -> None:
    server = house.server(tiny.policy(), token=TOKEN)
    with pytest.raises(InvalidStatus) as refused:
        connect(server.address, additional_headers=headers)
    assert refused.value.response.status_code == 401


def test_both_clients_know_how_to_send_it(tiny, house, observed) -> None:
    openpi = pytest.importorskip("openpi_client.websocket_client_policy")
    server = house.server(tiny.policy(), token=TOKEN)
    assert openpi.WebsocketClientPolicy("127.0.0.1", server.port, api_key=TOKEN).infer(observed())["actions"].any()
    Client(server.address, "push", mode="synchronous", token=TOKEN).close()
    with pytest.raises(RefusalError, match="pass the token") as refused:
        Client(server.address, "push", mode="synchronous", token="another")
    assert refused.value.code == "unauthorized"


def test_pages_in_a_browser_stay_out(tiny, house) -> None:
    server = house.server(tiny.policy())
    with pytest.raises(InvalidStatus) as refused:
        connect(server.address, origin="http://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403


def test_encrypted(tiny, house, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    server = house.server(tiny.policy(), certificate=certificate, key=key)
    assert server.address.startswith("wss://")
    Client(server.address, "push", mode="synchronous", certificate=certificate).close()
    with pytest.raises(ConfigurationError, match="PEM files that belong together"):
        PolicyServer(tiny.policy(), ServerConfig(certificate=key, key=key))


def test_a_port_that_is_taken(tiny, house) -> None:
    server = house.server(tiny.policy())
    with pytest.raises(ConfigurationError, match="a free port"), serving(tiny.policy(), ServerConfig(port=server.port)):
        pass


def test_as_many_connections_as_may_be(tiny, house) -> None:
    server = house.server(tiny.policy(), limits={"connections": 1})
    with house.Raw(server.address):
        with pytest.raises(InvalidStatus) as refused:
            connect(server.address)
        assert refused.value.response.status_code == 503
        assert get(server, "/healthz")[0] == 200


def test_what_one_does_does_not_harm_another(tiny, house, observed) -> None:
    """Garbage, a message far too large, one cut off in the middle, a flood: each next to a robot that goes on."""
    server = house.server(tiny.policy(), limits={"message_bytes": 100_000, "messages_per_s": 500.0})
    rng = np.random.default_rng(0)
    with house.Raw(server.address) as robot:
        expected = robot.infer(observed())["actions"]

        def unharmed() -> None:
            np.testing.assert_array_equal(robot.infer(observed())["actions"], expected)

        with house.Raw(server.address) as garbler:
            for size in rng.integers(0, 200, 60):
                with pytest.raises(RefusalError) as refused:
                    garbler.ask_bytes(rng.bytes(int(size)))
                assert refused.value.code == "bad_message"
            with pytest.raises(RefusalError, match="binary message"):
                garbler.ask_bytes("text")
            np.testing.assert_array_equal(garbler.infer(observed())["actions"], expected)
        unharmed()
        with house.Raw(server.address) as large, pytest.raises(ConnectionClosed) as closed:
            large.ask_bytes(bytes(200_000))
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
        unharmed()
        killed = house.Raw(server.address).socket.socket
        killed.sendall(b"\x82\xff" + (90_000).to_bytes(8, "big") + b"mask" + b"some of it")
        killed.shutdown(socket.SHUT_RDWR)
        unharmed()
        flooder = house.Raw(server.address).socket
        for _ in range(300):
            flooder.send(b"\xc0")
        flooder.socket.shutdown(socket.SHUT_RDWR)
        unharmed()
    assert server.host.metrics.errors.labels("too_large")._value.get() == 1


def test_one_that_does_not_read_is_dropped(tiny, house) -> None:
    server = house.server(tiny.policy(), limits={"send_s": 0.01})

    class Stuck:
        remote_address = "nowhere"
        aborted = False
        transport = property(lambda self: self)

        async def send(self, reply):
            await asyncio.sleep(10)

        def abort(self):
            self.aborted = True

    stuck = Stuck()
    asyncio.run(server._send(stuck, b""))  # type: ignore[arg-type]
    assert stuck.aborted


def test_a_connection_that_asks_too_fast_is_read_later(tiny, house) -> None:
    server = house.server(tiny.policy(), limits={"messages_per_s": 20.0})
    with house.Raw(server.address) as client:
        begun_s = time.monotonic()
        for _ in range(52):  # 40 may come at once
            with pytest.raises(RefusalError):
                client.ask_bytes(b"\xc0")
    assert time.monotonic() - begun_s > 0.5


def test_a_thread_that_hangs_is_told_and_recovers(tiny, house, observed, monkeypatch) -> None:
    policy, going_on = tiny.policy(), Event()
    server = house.server(policy, limits={"hung_s": 0.2})
    original = policy.__class__.observe_first

    def hang(*args) -> None:
        assert going_on.wait(timeout=30)
        original(*args)

    monkeypatch.setattr(policy.__class__, "observe_first", hang)
    answers: list[dict] = []
    with house.Raw(server.address) as client:
        assert get(server, "/healthz") == (200, "OK\n")
        thread = Thread(target=lambda: answers.append(client.infer(observed())))
        thread.start()
        assert health(server, 503).startswith("hung: computing for ")
        going_on.set()
        thread.join()
        assert answers[0]["actions"].shape == (8, 3)
        assert health(server, 200) == "OK\n"


def test_ending_finishes_what_is_being_answered(tiny, house, observed, monkeypatch) -> None:
    policy = tiny.policy()
    running = house.running(policy)
    server = running.__enter__()
    asking, idle, answers = house.Raw(server.address), house.Raw(server.address), []
    started = idle.start(mode="synchronous")
    original = policy.__class__.observe_first

    def slowly(*args) -> None:
        time.sleep(0.6)
        original(*args)

    monkeypatch.setattr(policy.__class__, "observe_first", slowly)
    thread = Thread(target=lambda: answers.append(asking.infer(observed())))
    thread.start()
    time.sleep(0.2)
    ending = Thread(target=running.__exit__, args=(None, None, None))
    ending.start()
    time.sleep(0.1)
    assert get(server, "/healthz") == (503, "shutting down\n")
    with pytest.raises(InvalidStatus) as refused:
        connect(server.address)
    assert refused.value.response.status_code == 503
    with pytest.raises(RefusalError) as stored:
        idle.ask(Predict(session=started.session, sequence=1, sent_s=0.0))
    assert stored.value.code == "shutting_down"
    thread.join()
    ending.join()
    assert answers[0]["actions"].shape == (8, 3)
    for client in (asking, idle):
        with pytest.raises(ConnectionClosed) as closed:
            client.socket.recv(timeout=5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
