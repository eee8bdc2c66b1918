"""The same server on other sockets: what a client sees is what it sees of the plain one."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Thread

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from foreact.control.client import Client
from foreact.control.controller import Turn
from foreact.control.protocol import Begin, Predict, RefusalError, encode
from foreact.policy.policy import Policy
from foreact.serving.config import Limits, ServerConfig
from foreact.serving.host import Host
from foreact.types import Observation

pytest.importorskip("starlette", reason="pip install 'foreact[policy,ray]'")
uvicorn = pytest.importorskip("uvicorn", reason="pip install 'foreact[policy,ray]'")

from starlette.websockets import WebSocket  # noqa: E402

from foreact.serving.asgi import Application  # noqa: E402

TOKEN = "a secret that is long enough"


class Running:
    """An application on a free port of this machine."""

    def __init__(self, policy: Policy, limits: dict | None, settings: dict):
        config = ServerConfig(limits=Limits(**(limits or {})), **settings)
        self.host = Host(policy, config)
        application = Application(self.host, config).build()
        self._server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="critical", ws_max_size=2**24))
        self._thread = Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> "Running":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.address = f"ws://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_) -> None:
        self._server.should_exit = True
        self._thread.join()

    def get(self, path: str, **headers) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def serve(tiny) -> Iterator[Callable[..., Running]]:
    with ExitStack() as stack:
        yield lambda policy=None, limits=None, **settings: stack.enter_context(
            Running(policy or tiny.policy(), limits, settings)
        )


def test_an_observation_is_answered_as_by_the_plain_server(tiny, house, serve, observed, one_thread) -> None:
    policy = tiny.policy(**house.trained)
    application, plain = serve(policy), house.server(policy)
    with house.Raw(application.address) as one, house.Raw(plain.address) as other:
        assert one.facts == other.facts
        got, expected = (each.infer(observed(seed=5))["actions"] for each in (one, other))
        np.testing.assert_array_equal(got, expected)
        assert one.infer({"prompt": "push"}) == other.infer({"prompt": "push"})  # refused in the same words


def test_pages(serve, house, observed) -> None:
    application = serve(token=TOKEN)
    assert application.get("/healthz") == (200, "OK\n")
    assert application.get("/metrics")[0] == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with house.Raw(application.address, additional_headers=bearer) as client:
        client.infer(observed())
        status, text = application.get("/metrics", **bearer)
    assert status == 200
    assert "foreact_chunks_total 1.0" in text and "foreact_connections 1.0" in text
    assert 'foreact_errors_total{code="unauthorized"} 1.0' in text
    assert application.get("/another")[0] == 404


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
def test_whoever_does_not_know_the_token_stays_out(serve, headers: dict) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(serve(token=TOKEN).address, additional_headers=headers)
    assert refused.value.response.status_code == 401


def test_both_clients_know_how_to_send_it(serve, observed) -> None:
    openpi = pytest.importorskip("openpi_client.websocket_client_policy")
    application = serve(token=TOKEN)
    Client(application.address, "push", mode="synchronous", token=TOKEN).close()
    policy = openpi.WebsocketClientPolicy("127.0.0.1", application.port, api_key=TOKEN)
    assert policy.infer(observed())["actions"].any()
    with pytest.raises(RefusalError, match="pass the token"):
        Client(application.address, "push", mode="synchronous", token="another")


def test_without_a_token_only_this_machine_comes_in(serve, monkeypatch) -> None:
    application = serve()
    connect(application.address).close()
    monkeypatch.setattr("foreact.serving.asgi.is_this_machine", lambda host: host != "127.0.0.1")
    with pytest.raises(InvalidStatus) as refused:
        connect(application.address)
    assert refused.value.response.status_code == 403
    assert application.get("/metrics")[0] == 403


def test_pages_in_a_browser_stay_out(serve) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(serve().address, origin="http://evil.example")  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403


def test_what_one_does_does_not_harm_another(serve, house, observed) -> None:
    """Garbage, a message far too large, a flood, a client that is cut off: each next to a robot that goes on."""
    application = serve(limits={"message_bytes": 100_000, "messages_per_s": 500.0})
    rng, errors = np.random.default_rng(0), application.host.metrics.errors
    with house.Raw(application.address) as robot:
        expected = robot.infer(observed())["actions"]

        def unharmed() -> None:
            np.testing.assert_array_equal(robot.infer(observed())["actions"], expected)

        with house.Raw(application.address) as garbler:
            for size in rng.integers(0, 200, 20):
                with pytest.raises(RefusalError) as refused:
                    garbler.ask_bytes(rng.bytes(int(size)))
                assert refused.value.code == "bad_message"
            with pytest.raises(RefusalError, match="binary message"):
                garbler.ask_bytes("text")
        unharmed()
        with house.Raw(application.address) as large, pytest.raises(ConnectionClosed) as closed:
            large.ask_bytes(bytes(200_000))
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
        assert errors.labels("too_large")._value.get() == 1
        house.Raw(application.address).socket.socket.close()
        unharmed()
    assert len(application.host.sessions) == 0


def test_a_flood_is_not_kept(serve, house, monkeypatch) -> None:
    """Whatever runs the application may take in all that comes; so a client that does not wait is dropped."""
    application = serve()
    monkeypatch.setattr("foreact.policy.policy.Policy.observe_first", lambda *_: time.sleep(0.3))
    with house.Raw(application.address) as flooder, pytest.raises(ConnectionClosed) as closed:
        started = flooder.start(mode="synchronous")
        flooder.socket.send(_begin(started.session))
        for _ in range(100):
            flooder.socket.send(b"\xc0")
        while True:
            flooder.socket.recv(timeout=10)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    _until(lambda: application.host.num_connections == 0)


def _begin(session: str) -> bytes:
    images = {camera: np.zeros((16, 8, 3), np.uint8) for camera in ("top", "wrist")}
    return encode(Begin(session=session, sequence=1, sent_s=0.0, images=images, state=np.zeros(3, np.float32)))


def _until(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_broken_connection_is_made_anew_and_the_session_taken_up(tiny, serve) -> None:
    application = serve()
    images = {camera: clip[0] for camera, clip in tiny.images(1).items()}
    with Client(application.address, "push", mode="synchronous") as client:
        client.begin(Observation(images=images, state=np.zeros(3, np.float32), time_s=0.0))
        session = client._session
        client._link.cut()
        none = np.zeros((0, 3), np.float32)
        turn = Turn(images=tiny.images(4), executed=tiny.actions(8), under_way=none, prefix=none)
        assert len(client.proceed(turn).actions) == 8
        assert client._session is not None and session is not None and client._session.session == session.session


def test_whatever_carries_the_messages_may_fail(tiny, serve, house, monkeypatch) -> None:
    """As Ray's proxy does when it dies: the connection is over, its session waits to be taken up."""
    application = serve()
    receive = WebSocket.receive

    async def fail(socket):
        message = await receive(socket)
        if message["type"] == "websocket.receive" and message.get("text") == "fail":
            raise RuntimeError("the proxy died")
        return message

    monkeypatch.setattr(WebSocket, "receive", fail)
    with house.Raw(application.address) as client:
        client.start(mode="synchronous")
        client.socket.send("fail")
        with pytest.raises(ConnectionClosed):
            client.socket.recv(timeout=5)
    _until(lambda: application.host.num_connections == 0)
    assert len(application.host.sessions) == 1


def test_sessions_whose_time_ran_out_are_ended(serve, house) -> None:
    application = serve(limits={"idle_s": 0.05})
    with house.Raw(application.address) as client:
        started = client.start(mode="synchronous")
        _until(lambda: len(application.host.sessions) == 0)
        with pytest.raises(RefusalError) as refused:
            client.ask(Predict(session=started.session, sequence=1, sent_s=0.0))
        assert refused.value.code == "unknown_session"


def test_ending(serve, house) -> None:
    application = serve()
    with house.Raw(application.address) as client:
        application.host.draining = True
        assert application.get("/healthz") == (503, "shutting down\n")
        with pytest.raises(RefusalError) as refused:
            client.start(mode="synchronous")
        assert refused.value.code == "shutting_down"
        application.__exit__()
        with pytest.raises(ConnectionClosed):
            client.socket.recv(timeout=5)
    assert not application.host._engine._thread.is_alive()
