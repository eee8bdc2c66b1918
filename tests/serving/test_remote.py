"""Our client is a controller like any other: under `drive` a remote policy moves a robot as a local one does."""

import time

import numpy as np
import pytest

from foreact.control.client import Client, ServerError
from foreact.control.clock import VirtualClock
from foreact.control.controller import Controller, Turn
from foreact.control.drive import drive
from foreact.control.latency import constant
from foreact.control.link import Patience
from foreact.control.protocol import RefusalError
from foreact.control.worker import VirtualWorker
from foreact.errors import InputError
from foreact.policy.controllers import MODES, PolicyController, control_config
from foreact.types import Observation

BRIEF = Patience(connect_s=2.0, answer_s=5.0, give_up_s=10.0, first_retry_s=0.01, longest_retry_s=0.1)


def driven(controller, policy, house, *, num_commands: int = 24, latency_s: float = 0.05, on_chunk=None):
    """The commands, and the report."""
    clock, robot = VirtualClock(), house.Robot(num_commands)
    config = control_config(policy, watchdog_s=None)
    worker = VirtualWorker(clock, constant(latency_s))
    state = policy.embodiment.hold_action(robot.state)
    report = drive(robot, controller, config, clock=clock, worker=worker, standstill=state, on_chunk=on_chunk)
    return np.stack(robot.commands), report


@pytest.mark.parametrize("mode", MODES)
def test_a_remote_policy_moves_a_robot_as_a_local_one_does(tiny, house, one_thread, mode: str) -> None:
    policy = tiny.policy(**house.trained)
    server = house.server(policy)
    local = PolicyController(policy, "push it", mode=mode, seed=3)  # type: ignore[arg-type]
    with Client(server.address, "push it", mode=mode, seed=3, patience=BRIEF) as client:
        assert isinstance(client, Controller)
        assert (client.waits, client.inpaints) == (local.waits, local.inpaints)
        got, report = driven(client, policy, house)
    expected, expected_report = driven(local, policy, house)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert report.num_turns == expected_report.num_turns >= 2
    assert len(np.unique(got[:, 0])) > 6  # it moved
    assert len(server.host.sessions) == 0  # closing told the server


def observation(tiny, **changes) -> Observation:
    images = {camera: clip[0] for camera, clip in tiny.images(1).items()}
    usual = {"images": images, "state": np.array([0.1, -0.2, 0.5], np.float32), "time_s": 0.0}
    return Observation(**usual | changes)


def turn(tiny, number: int, *, under_way: int = 0) -> Turn:
    none = np.zeros((0, 3), np.float32)
    ahead = tiny.actions(4 * under_way, seed=number + 50) if under_way else none
    images, executed = tiny.images(4, seed=number), tiny.actions(8, seed=number)
    return Turn(images=images, executed=executed, under_way=ahead, prefix=none)


def test_imagined_latents_only_if_asked_for(tiny, house) -> None:
    server = house.server(tiny.policy(**house.trained))
    for wanted in (False, True):
        with Client(server.address, "push", imagined=wanted) as client:
            chunk = client.begin(observation(tiny))
            assert (chunk.imagined_latents is not None) == wanted
            chunk = client.proceed(turn(tiny, 1, under_way=1))
            assert (chunk.foreseen_latents is not None) == wanted
            assert chunk.disagreement is not None and chunk.stage_ms["imagine"] > 0


def test_a_broken_connection_is_made_anew_and_the_session_taken_up(tiny, house, one_thread) -> None:
    policy = tiny.policy(**house.trained)
    server = house.server(policy)
    local = PolicyController(policy, "push", seed=1)
    with Client(server.address, "push", seed=1, patience=BRIEF) as client:
        for number in range(5):
            if number:
                expected, got = (each.proceed(turn(tiny, number, under_way=1)) for each in (local, client))
            else:
                expected, got = (each.begin(observation(tiny)) for each in (local, client))
            np.testing.assert_allclose(got.actions, expected.actions, atol=1e-5)
            client._link.cut()
        assert len(server.host.sessions) == 1


def test_an_answer_that_was_lost_is_given_once_more_and_the_turn_not_taken_twice(tiny, house, one_thread) -> None:
    """The connection breaks after the server has the turn and before the client has the answer."""
    policy = tiny.policy(**house.trained)
    server = house.server(policy)
    local = PolicyController(policy, "push")
    with Client(server.address, "push", patience=BRIEF) as client:
        client.begin(observation(tiny)), local.begin(observation(tiny))
        for number in (1, 2):
            connection = client._link._connection
            receive = connection.recv

            def fail(timeout=None, receive=receive, wait=number == 1):
                if wait:
                    receive(timeout)
                raise TimeoutError("lost on the way")

            connection.recv = fail
            got, expected = (each.proceed(turn(tiny, number, under_way=1)) for each in (client, local))
            np.testing.assert_allclose(got.actions, expected.actions, atol=1e-5)
        assert server.host.metrics.repeated._value.get() == 2


def test_a_server_started_anew_begins_from_what_was_seen_last(tiny, house, one_thread) -> None:
    policy = tiny.policy(**house.trained)
    with house.running(policy) as first:
        port = first.port
        client = Client(first.address, "push", patience=BRIEF)
        client.begin(observation(tiny))
    with house.running(policy, port=port), client:
        moving, standing = turn(tiny, 1, under_way=1), turn(tiny, 2)
        assert client.proceed(moving).actions.shape == (0, 3)  # execute what is decided, stand still
        got = client.proceed(standing)
        last = {camera: clip[-1] for camera, clip in standing.images.items()}
        local = PolicyController(policy, "push")
        expected = local.begin(observation(tiny, images=last, state=standing.executed[-1]))
        np.testing.assert_allclose(got.actions, expected.actions, atol=1e-5)
        got, expected = (each.proceed(turn(tiny, 3, under_way=1)) for each in (client, local))
        np.testing.assert_allclose(got.actions, expected.actions, atol=1e-5)


@pytest.mark.parametrize("stored", [True, False])
def test_the_state_of_a_session_begun_anew(tiny, house, stored: bool) -> None:
    """What `read_state` says; else the last command, if commands are states; else the first state."""
    server = house.server(tiny.policy())
    read_state = (lambda: np.ones(3)) if stored else None
    with Client(server.address, "push", mode="synchronous", read_state=read_state) as client:
        client.begin(observation(tiny))
        first = client._state
        client._last_command = np.full(3, 0.5, np.float32)
        assert np.array_equal(client._present_state(), np.ones(3) if stored else np.full(3, 0.5))
        object.__setattr__(client.facts, "state_is_action", False)
        assert np.array_equal(client._present_state(), np.ones(3) if stored else first)


def test_a_server_restarted_under_a_robot_that_is_driven(tiny, house) -> None:
    """No command is lost or given twice: the robot does what is decided, holds, and goes on."""
    policy = tiny.policy(**house.trained)
    running = house.running(policy)
    port = running.__enter__().port
    client = Client(f"127.0.0.1:{port}", "push", patience=BRIEF)
    restarted = []

    def restart(placed) -> None:
        nonlocal running
        if placed.index == 2:
            running.__exit__(None, None, None)
            running = house.running(policy, port=port)
            running.__enter__()
            restarted.append(placed.begin_tick)

    with client:
        commands, report = driven(client, policy, house, num_commands=48, on_chunk=restart)
    running.__exit__(None, None, None)
    assert restarted and len(commands) == 48
    assert report.num_fallbacks >= 1
    assert np.isfinite(commands).all() and len(np.unique(commands[28:, 0])) > 3


def test_no_server_is_told_after_as_much_patience_as_there_is(house, tiny) -> None:
    policy = tiny.policy()
    impatient = Patience(connect_s=0.5, answer_s=0.5, give_up_s=0.3, first_retry_s=0.02)
    with house.running(policy) as server:
        address = server.address
        client = Client(address, "push", mode="synchronous", patience=impatient)
        client.begin(observation(tiny))
    with pytest.raises(ServerError, match="see that it runs"):
        client.proceed(turn(tiny, 1))
    with pytest.raises(ServerError, match="see that it runs"):
        Client(address, "push", patience=impatient)
    client.close()
    with pytest.raises(ServerError, match="closed"):
        client.proceed(turn(tiny, 1))


def test_a_server_that_is_full_is_tried_again_and_then_told(tiny, house) -> None:
    server = house.server(tiny.policy(), limits={"connections": 1})
    impatient = Patience(give_up_s=0.2, first_retry_s=0.02)
    with house.Raw(server.address), pytest.raises(ServerError, match="HTTP 503"):
        Client(server.address, "push", mode="synchronous", patience=impatient)


def test_what_the_server_does_not_want_is_raised(tiny, house) -> None:
    server = house.server(tiny.policy(), limits={"message_bytes": 20_000})
    with pytest.raises(RefusalError, match="not trained for it") as refused:
        Client(server.address, "push", mode="grounded")
    assert refused.value.code == "bad_message"
    with Client(server.address, "push", mode="synchronous") as client:
        with pytest.raises(InputError, match="lack cameras wrist"):
            client.begin(observation(tiny, images={"top": np.zeros((16, 8, 3), np.uint8)}))
        with pytest.raises(RefusalError, match="entries of the state"):
            client.begin(observation(tiny, state=np.zeros(4, np.float32)))
        large = {camera: np.zeros((160, 80, 3), np.uint8) for camera in ("top", "wrist")}
        with pytest.raises(RefusalError, match="send smaller pictures"):
            client.begin(observation(tiny, images=large))
        assert len(client.begin(observation(tiny)).actions) == 8  # nothing of it did any harm


def test_pictures_can_be_made_fit_before_they_are_sent(tiny, house) -> None:
    server = house.server(tiny.policy())

    def fit(taken):
        return {"top": taken["cam_high"][:, ::2, ::2], "wrist": taken["cam_low"]}

    taken = {"cam_high": np.zeros((32, 16, 3), np.uint8), "cam_low": np.zeros((16, 8, 3), np.uint8)}
    with Client(server.address, "push", mode="synchronous", images=fit) as client:
        assert len(client.begin(observation(tiny, images=taken)).actions) == 8


def test_a_session_that_is_lost_again_and_again_is_given_up(tiny, house, monkeypatch) -> None:
    server = house.server(tiny.policy())
    monkeypatch.setattr("foreact.policy.policy.Policy.observe_first", lambda *_: 1 / 0)
    with Client(server.address, "push", mode="synchronous") as client, pytest.raises(ServerError, match="3 times"):
        client.begin(observation(tiny))


def test_another_robots_policy_on_the_same_address_is_refused(tiny, house) -> None:
    server = house.server(tiny.policy())
    with Client(server.address, "push", mode="synchronous", patience=BRIEF) as client:
        object.__setattr__(client.facts, "action_names", ["wheel"])
        client._link.cut()
        with pytest.raises(ServerError, match="action_names"):
            client.begin(observation(tiny))


def test_closing_ends_a_question_in_another_thread(tiny, house, monkeypatch) -> None:
    from threading import Thread

    server = house.server(tiny.policy())
    client, raised = Client(server.address, "push", mode="synchronous"), []
    monkeypatch.setattr("foreact.policy.policy.Policy.observe_first", lambda *_: time.sleep(1.0))

    def ask() -> None:
        try:
            client.begin(observation(tiny))
        except ServerError as error:
            raised.append(error)

    thread = Thread(target=ask)
    thread.start()
    time.sleep(0.2)
    client.close()
    thread.join(0.6)
    assert not thread.is_alive() and raised
