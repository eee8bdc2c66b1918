"""Two replicas on this machine, under Ray itself: robots are told apart, led back, and outlive the one they were on."""

import asyncio
import importlib
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count, groupby
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from foreact.control.client import Client, ServerError
from foreact.control.clock import VirtualClock
from foreact.control.controller import Turn
from foreact.control.drive import drive
from foreact.control.latency import constant
from foreact.control.link import Patience
from foreact.control.protocol import RefusalError
from foreact.control.worker import VirtualWorker
from foreact.errors import ConfigurationError, UnknownNameError
from foreact.policy.controllers import PolicyController, control_config
from foreact.policy.storage.checkpoint import save_policy
from foreact.serving.config import ServerConfig
from foreact.serving.engine import Engine
from foreact.serving.host import Host
from foreact.types import Observation

ray = pytest.importorskip("ray", reason="pip install 'foreact[policy,ray]'")
from pydantic import ValidationError  # noqa: E402
from ray import serve  # noqa: E402

from foreact.serving.ray_deployment import Arguments, PolicyReplica, app  # noqa: E402

TOKEN = "a secret that is long enough"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATIENT = Patience(connect_s=5.0, answer_s=20.0, give_up_s=240.0, first_retry_s=0.02, longest_retry_s=0.5)
TRAINED = dict(forward_dynamics=True, action_prefixes=True)


@pytest.fixture(scope="module", autouse=True)
def unchecked_router() -> Iterator[None]:
    """The router's module without its shapes and types checked: Ray pickles the class with all that it refers to."""
    name = "foreact.serving.ray_router"
    spec = spec_from_file_location(name, importlib.import_module(name).__file__)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, name, module)
        yield


class Cluster:
    """Two replicas of the policy in miniature."""

    def __init__(self, policy, folder: Path, port: int):
        self.policy, self.address, self._port = policy, f"127.0.0.1:{port}", port
        (folder / "token.txt").write_text(TOKEN)
        save_policy(policy, folder / "policy", provenance={})
        self._arguments = {"policy": str(folder / "policy"), "token_file": str(folder / "token.txt")}

    def deploy(self, **changes) -> None:
        given = self._arguments | {"num_cpus": 0.5, "drain_s": 2.0, "num_replicas": 2} | changes
        serve.run(app(Arguments(**given)), route_prefix="/", logging_config={"enable_access_log": False})

    def client(self, *, mode: str = "grounded", seed: int = 0) -> Client:
        return Client(self.address, "push it", mode=mode, seed=seed, token=TOKEN, patience=PATIENT)

    def get(self, path: str, **headers) -> tuple[int, str]:
        request = urllib.request.Request(f"http://{self.address}{path}", headers=headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stored(self, metric: str) -> dict[str, float]:
        """A metric of every replica."""
        status, text = self.get("/metrics", **BEARER)
        assert status == 200
        lines = [line for line in text.splitlines() if line.startswith(metric + "{")]
        return {line.split('"')[1]: float(line.rsplit(" ", 1)[1]) for line in lines}

    def replicas(self) -> dict[str, str]:
        """Names of the actors that live, by name of the replica."""
        actors = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]
        return {name.rsplit("#", 1)[1]: name for name in actors if name.startswith("SERVE_REPLICA")}

    def kill(self, replica: str) -> None:
        ray.kill(ray.get_actor(self.replicas()[replica], namespace="serve"))

    def wait_for(self, num_replicas: int) -> None:
        until_s = time.monotonic() + 240
        while len(self.told("foreact_sessions")) != num_replicas:
            assert time.monotonic() < until_s
            time.sleep(0.5)


def replica_of(client: Client) -> str:
    return client.facts.policy.rsplit("@", 1)[1]


@pytest.fixture(scope="module")
def cluster(tiny, unchecked_router, tmp_path_factory) -> Iterator[Cluster]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    quiet |= {"RAY_worker_niceness": "0", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}  # a busy machine is no failure
    with pytest.MonkeyPatch.context() as patch:
        for name, value in quiet.items():
            patch.setenv(name, value)
        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port}, proxy_location="HeadOnly")
            cluster = Cluster(tiny.policy(**TRAINED), tmp_path_factory.mktemp("ray"), port)
            cluster.deploy()
            yield cluster
            serve.shutdown()
        finally:
            ray.shutdown()


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def observation(tiny) -> Observation:
    images = {camera: clip[0] for camera, clip in tiny.images(1).items()}
    return Observation(images=images, state=np.array([0.1, -0.2, 0.5], np.float32), time_s=0.0)


def turn(tiny, number: int, *, under_way: int = 1) -> Turn:
    none = np.zeros((0, 3), np.float32)
    ahead = tiny.actions(4 * under_way, seed=number + 50) if under_way else none
    return Turn(images=tiny.images(4, seed=number), executed=tiny.actions(8, seed=number), under_way=ahead, prefix=none)


def on_each_replica(cluster: Cluster, clients: ExitStack, **settings) -> dict[str, Client]:
    """A client on each of both, by replica: the next one goes where there are fewer."""
    until_s = time.monotonic() + 10
    while any(cluster.told("foreact_connections").values()):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    made = [clients.enter_context(cluster.client(**settings)) for _ in range(2)]
    found = {replica_of(client): client for client in made}
    assert len(found) == 2, "both went to one replica"
    return found


def driven(controller, cluster: Cluster, house, *, num_commands: int, on_chunk=None) -> tuple[np.ndarray, list[float]]:
    """The commands, and how long each answer took, seconds."""
    took_s: list[float] = []

    class Timed:
        waits, inpaints = controller.waits, controller.inpaints

        def begin(self, observation):
            return self._timed(controller.begin, observation)

        def proceed(self, turn):
            return self._timed(controller.proceed, turn)

        def _timed(self, ask, given):
            begun_s = time.monotonic()
            try:
                return ask(given)
            finally:
                took_s.append(time.monotonic() - begun_s)

    clock, robot = VirtualClock(), house.Robot(num_commands)
    config, worker = control_config(cluster.policy, watchdog_s=None), VirtualWorker(clock, constant(0.05))
    state = cluster.policy.embodiment.hold_action(robot.state)
    drive(robot, Timed(), config, clock=clock, worker=worker, standstill=state, on_chunk=on_chunk)
    return np.stack(robot.commands), took_s


def are_given_once(commands: np.ndarray) -> bool:
    """Whether no command comes again later; one that is held is the same several times running."""
    held = [command for command, _ in groupby(map(tuple, commands))]
    return len(held) == len(set(held))


@pytest.mark.slow
def test_the_same_actions_as_from_a_controller_here(tiny, cluster, clients, one_thread) -> None:
    for client in on_each_replica(cluster, clients, seed=3).values():
        local = PolicyController(cluster.policy, "push it", seed=3)
        pairs = [(client.begin(observation(tiny)), local.begin(observation(tiny)))]
        pairs += [(client.proceed(turn(tiny, n)), local.proceed(turn(tiny, n))) for n in (1, 2)]
        for got, expected in pairs:
            np.testing.assert_allclose(got.actions, expected.actions, atol=1e-5)


@pytest.mark.slow
def test_openpis_client_works_as_it_is(cluster, house, observed, one_thread) -> None:
    openpi = pytest.importorskip("openpi_client.websocket_client_policy")
    host, port = cluster.address.split(":")
    policy = openpi.WebsocketClientPolicy(host, int(port), api_key=TOKEN)
    assert policy.get_server_metadata()["embodiment"] == "toy"
    plain = house.server(cluster.policy)
    for seed in range(3):
        got = policy.infer(observed(seed=seed))["actions"]
        with house.Raw(plain.address) as client:
            np.testing.assert_allclose(got, client.infer(observed(seed=seed))["actions"], atol=1e-5)
    with pytest.raises(RuntimeError, match="bad_observation"):
        policy.infer({"prompt": "push"})
    assert policy.infer(observed())["actions"].shape == (8, 3)
    policy._ws.close()  # which openpi's client never does


@pytest.mark.slow
def test_who_may_come_in_and_what_they_are_told(cluster, house) -> None:
    assert cluster.get("/healthz") == (200, "OK\n")
    assert cluster.get("/metrics")[0] == 401
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        with pytest.raises(InvalidStatus) as denied:
            house.Raw(f"ws://{cluster.address}", additional_headers=headers)
        assert denied.value.response.status_code == 401
    with pytest.raises(RefusalError, match="pass the token"):
        Client(cluster.address, "push", token="another")
    with pytest.raises(InvalidStatus) as denied:
        house.Raw(f"ws://{cluster.address}", origin="http://evil.example")
    assert denied.value.response.status_code == 403


@pytest.mark.slow
def test_a_message_that_is_too_large_is_refused_here_and_closed_there(tiny, cluster, clients, house) -> None:
    client = clients.enter_context(cluster.client())
    assert client.facts.limits["message_bytes"] == 2**24
    large = {camera: np.zeros((2048, 2048, 3), np.uint8) for camera in ("top", "wrist")}
    with pytest.raises(RefusalError, match="send smaller pictures"):
        client.begin(Observation(images=large, state=np.zeros(3, np.float32), time_s=0.0))
    with house.Raw(f"ws://{cluster.address}", additional_headers=BEARER) as raw, pytest.raises(ConnectionClosed) as why:
        raw.ask_bytes(bytes(2**24 + 1))
    assert why.value.rcvd is None or why.value.rcvd.code == 1009  # None: still sending when the proxy had hung up
    assert len(client.begin(observation(tiny)).actions) == 8


@pytest.mark.slow
def test_robots_are_spread_and_their_turns_stay_together(tiny, cluster, clients) -> None:
    both = on_each_replica(cluster, clients)
    for _ in range(4):
        clients.enter_context(cluster.client())
    assert set(cluster.told("foreact_connections").values()) == {3}
    before = cluster.told("foreact_chunks_total")
    for number, (name, client) in enumerate(both.items(), 1):
        client.begin(observation(tiny))
        for turns in range(3 * number):
            client.proceed(turn(tiny, turns))
        assert replica_of(client) == name
    after = cluster.told("foreact_chunks_total")
    grown = {name: after[name] - before[name] for name in both}
    assert list(grown.values()) == [1 + 3, 1 + 6]


@pytest.mark.slow
def test_one_whose_connection_broke_is_led_back_and_takes_its_session_up(tiny, cluster, clients, monkeypatch) -> None:
    """Also where the other replica has fewer robots."""
    on_each_replica(cluster, clients)
    for number in range(4):
        named = partial(connect_named, f"robot {number}")
        monkeypatch.setattr("foreact.control.link.connect", named)
        client = clients.enter_context(cluster.client(seed=number))
        client.begin(observation(tiny))
        replica, session = replica_of(client), client._session.session
        for turns in range(3):
            client._link.cut()
            client.proceed(turn(tiny, turns))
            assert (replica_of(client), client._session.session) == (replica, session)


def connect_named(name: str, address: str, *, additional_headers, **settings):
    return connect(address, additional_headers=additional_headers | {"X-Session-Id": name}, **settings)


@pytest.mark.slow
def test_a_replica_is_killed_under_robots_that_are_driven(tiny, cluster, clients, house, one_thread) -> None:
    """Its robot holds, goes on with the other replica, and is given no command twice; the other's notices nothing."""
    cluster.wait_for(2)
    both = on_each_replica(cluster, clients)
    (dying, robot), (living, other) = both.items()
    undisturbed = driven(PolicyController(cluster.policy, "push it"), cluster, house, num_commands=96)[0]
    killed = Event()

    def kill(placed) -> None:
        if placed.index == 3 and not killed.is_set():
            cluster.kill(dying)
            killed.set()

    with ThreadPoolExecutor(2) as pool:
        beside = pool.submit(driven, other, cluster, house, num_commands=96)
        commands, took_s = driven(robot, cluster, house, num_commands=96, on_chunk=kill)
        beside_commands, beside_s = beside.result()
    assert killed.is_set() and replica_of(other) == living
    assert replica_of(robot) != dying
    assert len(commands) == 96 and are_given_once(commands) and len(np.unique(commands[48:], axis=0)) > 8
    assert not np.allclose(commands, undisturbed)  # it did begin anew
    np.testing.assert_allclose(beside_commands, undisturbed, atol=1e-4)
    print(f"longest answer: killed {max(took_s):.2f} s, next to it {max(beside_s):.2f} s")
    assert max(took_s) < 10.0
    cluster.wait_for(2)  # Ray starts another in its place
    assert dying not in cluster.told("foreact_sessions")


@pytest.mark.slow
def test_all_replicas_are_exchanged_under_robots_that_go_on(tiny, cluster, clients) -> None:
    """A new version: those that end go on for a while, then their robots go on with the new one."""
    cluster.wait_for(2)
    before, both = set(cluster.told("foreact_sessions")), list(on_each_replica(cluster, clients).values())
    done = Event()

    def go_on(client: Client) -> int:
        client.begin(observation(tiny))
        for number in count(1):
            client.proceed(turn(tiny, number, under_way=0))
            if done.wait(0.2) and replica_of(client) not in before:
                return number
        raise AssertionError

    with ThreadPoolExecutor(2) as pool:
        going = [pool.submit(go_on, client) for client in both]
        try:
            cluster.deploy(num_replicas=1)
        finally:
            done.set()
        assert all(each.result(timeout=120) > 3 for each in going)
    (now,) = cluster.told("foreact_sessions")
    assert {replica_of(client) for client in both} == {now}


@pytest.mark.slow
def test_the_end(tiny, cluster, clients) -> None:
    """Of everything: connections break, and nobody answers."""
    client = clients.enter_context(cluster.client())
    client.begin(observation(tiny))
    begun_s = time.monotonic()
    serve.delete("default")
    assert time.monotonic() - begun_s < 15
    client._patience = Patience(give_up_s=0.5)
    with pytest.raises(ServerError, match="see that it runs"):
        client.proceed(turn(tiny, 1))
    assert cluster.get("/healthz")[0] == 404


def test_ray_is_told_of_a_replica_that_hangs_but_not_of_one_that_ends(tiny, monkeypatch) -> None:
    host = Host(tiny.policy(), ServerConfig())

    def checked() -> None:
        asyncio.run(PolicyReplica.check_health(SimpleNamespace(_host=host)))  # type: ignore[arg-type]

    try:
        checked()
        host.draining = True
        assert host.trouble
        checked()
        monkeypatch.setattr(Engine, "busy_s", 301.0)
        with pytest.raises(RuntimeError, match="hung: computing for 301 s"):
            checked()
    finally:
        host.close()


def test_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="polcy"):
        Arguments(polcy="tiny")  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="num_replicas"):
        Arguments(num_replicas=0)
    given = Arguments.model_validate({"num_replicas": "2", "num_gpus": "0.5"})  # as they come from `serve run`
    assert (given.num_replicas, given.num_gpus) == (2, 0.5)
    with pytest.raises(UnknownNameError, match="hasty"):
        app(Arguments(schedule="hasty"))
    with pytest.raises(ConfigurationError, match="a readable text file"):
        Arguments(token_file=tmp_path / "none.txt").server_config("a")
    (tmp_path / "token.txt").write_text("weak")
    with pytest.raises(ConfigurationError, match="a weak one"):
        Arguments(token_file=tmp_path / "token.txt").server_config("a")
    (tmp_path / "token.txt").write_text(TOKEN)
    config = Arguments(token_file=tmp_path / "token.txt", max_sessions=5).server_config("a1")
    assert (config.name, config.token, config.limits.sessions) == ("tiny@a1", TOKEN, 5)
