"""What is answered: sessions and their numbers, who may ask, what is refused, and batches that equal robots alone."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from foreact.control.controller import Turn
from foreact.control.protocol import Begin, Observe, Predict, RefusalError, Step, Stop, encode, read_reply
from foreact.embodiments import ActionCodec
from foreact.errors import CapacityError
from foreact.policy.controllers import MODES, PolicyController, control_config, proceed_together
from foreact.policy.policy import Policy
from foreact.serving.engine import Engine
from foreact.serving.queue import DueQueue, Urgency
from foreact.types import Observation

STATE = np.array([0.1, -0.2, 0.5], np.float32)
NONE = np.zeros((0, 3), np.float32)


def begin(tiny, session: str, *, sequence: int = 1, **changes) -> Begin:
    images = {camera: clip[0] for camera, clip in tiny.images(1).items()}
    usual = Begin(session=session, sequence=sequence, sent_s=0.0, images=images, state=STATE)
    return replace(usual, **changes)


def step(tiny, session: str, sequence: int, *, num_frames: int = 2, under_way: int = 0, **changes) -> Step:
    usual = Step(
        session=session,
        sequence=sequence,
        sent_s=0.0,
        images=tiny.images(2 * num_frames, seed=sequence) if num_frames else {},
        executed=tiny.actions(4 * num_frames, seed=sequence) if num_frames else NONE,
        under_way=tiny.actions(4 * under_way, seed=sequence + 50) if under_way else NONE,
        prefix=NONE,
    )
    return replace(usual, **changes)


def local(tiny, policy, number_of_steps: int, *, under_way: int = 0, **settings) -> list[np.ndarray]:
    """The same by a controller of its own, alone."""
    controller = PolicyController(policy, "push it", **settings)
    first = begin(tiny, "")
    chunks = [controller.begin(Observation(images=first.images, state=STATE, time_s=0.0)).actions]
    for sequence in range(2, number_of_steps + 2):
        m = step(tiny, "", sequence, under_way=under_way)
        turn = Turn(images=m.images, executed=m.executed, under_way=m.under_way, prefix=m.prefix)
        chunks.append(controller.proceed(turn).actions)
    return chunks


def disagreement_of(tiny, policy, message: Step) -> float | None:
    controller = PolicyController(policy, "push it", mode="synchronous")
    controller.begin(Observation(images=begin(tiny, "").images, state=STATE, time_s=0.0))
    return controller.proceed(
        Turn(images=message.images, executed=message.executed, under_way=NONE, prefix=NONE)
    ).disagreement


def refused(client, message) -> RefusalError:
    with pytest.raises(RefusalError) as raised:
        client.ask(message)
    return raised.value


@pytest.fixture
def asking(tiny, house):
    """A server, and a client with a session that has begun."""
    server = house.server(tiny.policy(**house.trained))
    with house.Raw(server.address) as client:
        name = client.start().session
        client.ask(begin(tiny, name))
        yield server, client, name


def test_who_asks_faster_than_a_robot_moves_comes_after_those_who_do_not(tiny, asking, observed, monkeypatch) -> None:
    _, client, name = asking
    put, stored = DueQueue.put, []

    def noting(self, item, *, urgency, **settings):
        stored.append(urgency)
        put(self, item, urgency=urgency, **settings)

    monkeypatch.setattr(DueQueue, "put", noting)
    now_s = time.monotonic()
    monkeypatch.setattr("foreact.serving.host.monotonic", lambda: now_s)  # all of it at once
    askers = [lambda sequence: client.ask(step(tiny, name, sequence)), lambda _: client.infer(observed())]
    for ask in askers:
        stored.clear()
        for sequence in range(2, 30):
            ask(sequence)
        assert stored[0] is not Urgency.AHEAD and stored[-1] is Urgency.AHEAD


def test_what_the_server_says_of_itself(tiny, house) -> None:
    policy = tiny.policy(**house.trained)
    server = house.server(policy, name="tiny one", limits={"sessions": 5})
    with house.Raw(server.address) as client:
        facts = client.facts
    assert (facts.policy, facts.embodiment, facts.digest) == ("tiny one", "toy", policy.digest())
    assert facts.action_names == facts.state_names == ["shoulder", "elbow", "gripper"]
    assert facts.action_units == ["rad", "rad", "opening"] and facts.state_is_action
    assert (facts.action_hz, facts.camera_stride, facts.actions_per_latent_frame) == (50.0, 2, 4)
    assert facts.modes == list(MODES) and facts.limits["sessions"] == 5
    assert facts.control_config(late="stop", unlimited=True) == control_config(policy, late="stop")
    assert facts.motion_limits["low"] == [-2.0, -2.0, 0.0] and facts.motion_limits["velocity"] == [None] * 3
    assert facts.unlimited_actions == facts.action_names
    with house.Raw(house.server(tiny.policy()).address) as client:
        assert client.facts.modes == ["synchronous", "naive", "open_loop"]


def test_many_robots_at_a_time_get_what_each_would_alone(tiny, house, one_thread) -> None:
    """Different modes, seeds and histories, all at once."""
    policy, num_steps = tiny.policy(**house.trained), 2
    server = house.server(policy, batching=house.batching(wait_ms=50.0))
    modes = ["synchronous", "naive", "grounded", "prefixed", "open_loop"]

    def robot(number: int) -> list[np.ndarray]:
        mode = modes[number]
        under_way = 0 if mode in ("synchronous", "open_loop") else 1
        with house.Raw(server.address) as client:
            name = client.start(mode=mode, seed=number).session
            chunks = [client.ask(begin(tiny, name)).actions]
            for sequence in range(2, num_steps + 2):
                chunks.append(client.ask(step(tiny, name, sequence, under_way=under_way)).actions)
            return chunks

    with ThreadPoolExecutor(len(modes)) as pool:
        got = list(pool.map(robot, range(len(modes))))
    for number, mode in enumerate(modes):
        under_way = 0 if mode in ("synchronous", "open_loop") else 1
        expected = local(tiny, policy, num_steps, mode=mode, seed=number, under_way=under_way)
        for one, other in zip(got[number], expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    sizes = server.host.metrics.batch_size
    assert sizes._sum.get() > sum(bucket.get() for bucket in sizes._buckets)  # some were computed together


def test_observing_and_asking_apart_is_a_turn_in_two_messages(tiny, house, one_thread) -> None:
    policy = tiny.policy()
    server = house.server(policy)
    with house.Raw(server.address) as client:
        name = client.start(mode="synchronous").session
        first = begin(tiny, name)
        images = {camera: image[None] for camera, image in first.images.items()}
        seen = Observe(session=name, sequence=1, sent_s=0.0, images=images, executed=NONE, state=STATE)
        assert client.ask(seen).disagreement is None
        got = [client.ask(Predict(session=name, sequence=2, sent_s=0.0)).actions]
        later = step(tiny, name, 2)
        stored = client.ask(replace(seen, sequence=3, images=later.images, executed=later.executed, state=None))
        assert stored.server_timing["total_ms"] > 0
        assert stored.disagreement == pytest.approx(disagreement_of(tiny, policy, later), abs=1e-5)
        got.append(client.ask(Predict(session=name, sequence=4, sent_s=0.0)).actions)
        for one, other in zip(got, local(tiny, policy, 1, mode="synchronous"), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        bad = replace(seen, sequence=5, images=later.images, executed=later.executed)
        assert "after the first" in str(refused(client, bad))
        name = client.start(mode="synchronous").session
        assert "first observation" in str(refused(client, replace(seen, session=name, state=None)))


def test_a_number_that_was_answered_is_answered_again_and_not_taken_in(tiny, asking) -> None:
    server, client, name = asking
    session = server.host.sessions._all[name]
    once = client.ask(step(tiny, name, 2))
    observed = session.controller.session.rollout.num_observed
    client.socket.send(encode(step(tiny, name, 2)))
    again = client.socket.recv()
    assert read_reply(again).server_timing == once.server_timing  # the very same answer
    assert session.controller.session.rollout.num_observed == observed
    assert refused(client, step(tiny, name, 1)).code == "replayed"
    assert refused(client, step(tiny, name, 4)).code == "out_of_order"
    assert client.ask(step(tiny, name, 3)).sequence == 3


def test_a_number_that_is_being_answered_is_answered_to_whoever_asks_last(tiny, house, asking, monkeypatch) -> None:
    server, client, name = asking
    session = server.host.sessions._all[name]
    monkeypatch.setattr("foreact.serving.computing.proceed_together", slowly)
    client.socket.send(encode(step(tiny, name, 2)))
    time.sleep(0.15)
    with house.Raw(server.address) as other:
        taken_up = other.start(session=name, token=session.token)
        assert taken_up.sequence == 1
        answer = other.ask(step(tiny, name, 2))
        assert answer.sequence == 2 and session.sequence == 2
        assert refused(other, step(tiny, "0" * 16, 2)).code == "unknown_session"
    assert read_reply(client.socket.recv(timeout=10)).server_timing == answer.server_timing
    assert refused(client, step(tiny, name, 3)).code == "not_your_session"


def slowly(*args):
    time.sleep(0.5)
    return proceed_together(*args)


def test_anothers_session(tiny, house, asking) -> None:
    server, client, name = asking
    with house.Raw(server.address) as thief:
        thief.start()
        for message in (step(tiny, name, 2), Stop(session=name)):
            assert refused(thief, message).code == "not_your_session"
        with pytest.raises(RefusalError) as stored:
            thief.start(session=name, token="guess")
        assert stored.value.code == "not_your_session"
        with pytest.raises(RefusalError) as stored:
            thief.start(session="nobody", token="guess")
        assert stored.value.code == "unknown_session"
        with pytest.raises(RefusalError, match="one without the other"):
            thief.start(session=name)
    assert client.ask(step(tiny, name, 2)).sequence == 2


def test_a_message_that_was_long_under_way_is_stale(tiny, house) -> None:
    server = house.server(tiny.policy(), limits={"stale_s": 5.0})
    with house.Raw(server.address) as client:
        name = client.start(mode="synchronous", sent_s=100.0).session
        assert client.ask(begin(tiny, name, sent_s=101.0)).sequence == 1
        late = refused(client, step(tiny, name, 2, sent_s=90.0))
        assert late.code == "stale" and "the robot has moved on" in str(late)
        assert client.ask(step(tiny, name, 2, sent_s=101.0)).sequence == 2


def other_images(tiny, **changes) -> dict:
    return {**tiny.images(4, seed=2), **changes}


@pytest.mark.parametrize(
    ("changes", "code", "complaint"),
    [
        (lambda t: {"images": {"top": t.images(4)["top"]}}, "bad_observation", "lack cameras wrist"),
        (lambda t: {"images": t.images(3)}, "bad_observation", r"\[4, height, width, 3\]"),
        (
            lambda t: {"images": other_images(t, top=np.zeros((4, 0, 8, 3), np.uint8))},
            "bad_observation",
            "camera 'top'",
        ),
        (lambda t: {"images": other_images(t, top=np.zeros((4, 65, 8, 3), np.uint8))}, "too_large", "65x8"),
        (
            lambda t: {"images": other_images(t, top=np.full((4, 16, 8, 3), np.nan, np.float32))},
            "bad_message",
            "images of 'step'",
        ),
        (lambda t: {"executed": t.actions(6)}, "bad_observation", "multiple of 4 up to 64"),
        (lambda t: {"executed": t.actions(68)}, "bad_observation", "multiple of 4 up to 64"),
        (lambda t: {"executed": t.actions(8)[:, :2].copy()}, "bad_observation", "entries of an action, executed"),
        (lambda t: {"executed": np.full((8, 3), np.inf, np.float32)}, "bad_message", "executed of 'step'"),
        (lambda t: {"under_way": t.actions(3)}, "bad_observation", "actions under way, mode grounded"),
        (lambda t: {"under_way": t.actions(12)}, "bad_observation", "multiple of 4 up to 8"),
        (lambda t: {"prefix": t.actions(2)}, "bad_observation", "actions of the prefix, mode grounded"),
        (lambda t: {"sent_s": float("nan")}, "bad_message", "sent_s"),
    ],
)
def test_a_turn_that_cannot_be_leaves_the_session_as_it_was(tiny, house, changes, code, complaint) -> None:
    server = house.server(tiny.policy(**house.trained), limits={"picture_pixels": 512})
    with house.Raw(server.address) as client:
        name = client.start().session
        client.ask(begin(tiny, name))
        with pytest.raises(RefusalError, match=complaint) as stored:
            client.ask(replace(step(tiny, name, 2), **changes(tiny)))
        assert stored.value.code == code
        assert client.ask(step(tiny, name, 2)).sequence == 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"observation/state": np.zeros(4, np.float32)}, "entries of the state"),
        ({"observation/state": np.full(3, np.nan)}, "finite numbers"),
        ({"observation/state": [0.0, 1.0, 2.0]}, "finite numbers"),
        ({"observation/images/top": np.zeros((16, 8), np.uint8)}, "image 'top'"),
        ({"observation/images/top": np.zeros((16, 8, 3), np.float32)}, "image 'top'"),
        ({"prompt": 7}, "prompt"),
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_an_openpi_observation_that_cannot_be_is_refused_in_words(tiny, house, observed, changes, complaint) -> None:
    server = house.server(tiny.policy())
    with house.Raw(server.address) as client:
        answer = client.infer(observed() | changes)
        assert isinstance(answer, str) and complaint in answer and "bad_observation" in answer
        assert "Traceback" not in answer
        assert client.infer(observed())["actions"].shape == (8, 3)


def test_openpi_observations_may_be_nested_or_channels_first(tiny, house, observed) -> None:
    server = house.server(tiny.policy())
    with house.Raw(server.address) as client:
        flat = observed()
        expected = client.infer(flat)["actions"]
        images = {camera: flat[f"observation/images/{camera}"] for camera in ("top", "wrist")}
        nested = {"images": images, "state": STATE.astype(np.float64), "prompt": "push it", "seed": np.int64(0)}
        np.testing.assert_array_equal(client.infer(nested)["actions"], expected)
        first = {camera: np.ascontiguousarray(image.transpose(2, 0, 1)) for camera, image in images.items()}
        np.testing.assert_array_equal(client.infer(nested | {"images": first})["actions"], expected)


def test_the_order_of_messages(tiny, house) -> None:
    server = house.server(tiny.policy(**house.trained))
    with house.Raw(server.address) as client:
        name = client.start().session
        for message in (step(tiny, name, 1), Predict(session=name, sequence=1, sent_s=0.0)):
            assert "before one" in str(refused(client, message))
        client.ask(begin(tiny, name))
        assert "a first observation" in str(refused(client, begin(tiny, name, sequence=2)))
        assert client.ask(Stop(session=name)).session == name
        assert refused(client, Stop(session=name)).code == "unknown_session"


def test_sessions_that_cannot_be(tiny, house) -> None:
    server = house.server(tiny.policy(), limits={"sessions": 2, "sessions_per_client": 1})
    with house.Raw(server.address) as client:
        for changes, code in (
            ({"version": 2}, "bad_message"),
            ({"mode": "odd"}, "bad_message"),
            ({"mode": "grounded"}, "bad_message"),
        ):
            with pytest.raises(RefusalError) as stored:
                client.start(**changes)
            assert stored.value.code == code
        first = client.start(mode="synchronous")  # what was refused kept no place
        with pytest.raises(RefusalError, match="sessions of this client") as stored:
            client.start(mode="synchronous")
        assert stored.value.code == "busy"
        with house.Raw(server.address) as second:
            second.start(mode="synchronous")
            with house.Raw(server.address) as third:
                with pytest.raises(RefusalError, match="sessions; got: 2") as stored:
                    third.start(mode="synchronous")
                assert stored.value.code == "busy"
        wait_until(lambda: server.host.num_connections == 1)
        with house.Raw(server.address) as fourth:  # the one that was abandoned makes room
            fourth.start(mode="synchronous")
        assert client.ask(begin(tiny, first.session)).sequence == 1


def test_a_session_for_which_there_is_no_memory_keeps_no_place(tiny, house, monkeypatch) -> None:
    def fail(*_, **__):
        raise CapacityError("memory for one more session")

    server = house.server(tiny.policy())
    monkeypatch.setattr("foreact.policy.policy.Policy.start", fail)
    with house.Raw(server.address) as client:
        with pytest.raises(RefusalError) as stored:
            client.start(mode="synchronous")
        assert stored.value.code == "busy" and len(server.host.sessions) == 0
        monkeypatch.undo()
        assert client.start(mode="synchronous").sequence == 0


def test_a_robot_described_by_channels_as_published_weights_are(tiny, house, one_thread) -> None:
    """Its state means nothing to the policy; its first chunk is shorter, and its second turn too."""
    embodiment = replace(tiny.embodiment(), arms=(), channels=(14, 15, 28))
    corners = np.stack([np.zeros(30), embodiment.channel_mask])
    codec = ActionCodec.fit(embodiment, corners)
    policy = Policy(tiny.networks(), codec, tiny.inference(first_frame="chunk"))
    server, controller = house.server(policy), PolicyController(policy, "push it", mode="synchronous")
    state = np.zeros(5, np.float32)
    with house.Raw(server.address) as client:
        assert not client.facts.state_is_action
        name = client.start(mode="synchronous").session
        first = begin(tiny, name, state=state)
        got = [client.ask(first).actions]
        expected = [controller.begin(Observation(images=first.images, state=state, time_s=0.0)).actions]
        later = step(tiny, name, 2, num_frames=1)
        got.append(client.ask(later).actions)
        turn = Turn(images=later.images, executed=later.executed, under_way=NONE, prefix=NONE)
        expected.append(controller.proceed(turn).actions)
    assert [len(actions) for actions in got] == [4, 8]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_idle_sessions_end(tiny, house) -> None:
    server = house.server(tiny.policy(), limits={"idle_s": 0.3, "grace_s": 0.3})
    with house.Raw(server.address) as client:
        name = client.start(mode="synchronous").session
        wait_until(lambda: len(server.host.sessions) == 0)
        assert refused(client, begin(tiny, name)).code == "unknown_session"


def test_a_session_that_breaks_is_ended_and_the_others_go_on(tiny, house, monkeypatch) -> None:
    """The error is the server's own; its client is told without a traceback."""
    server = house.server(tiny.policy(**house.trained), batching=house.batching(wait_ms=50.0))
    with house.Raw(server.address) as one, house.Raw(server.address) as other:
        names = [client.start().session for client in (one, other)]
        for client, name in zip((one, other), names, strict=True):
            client.ask(begin(tiny, name))
        bad = server.host.sessions._all[names[0]].controller.session
        fails(monkeypatch, bad)
        for client, name in zip((one, other), names, strict=True):
            client.socket.send(encode(step(tiny, name, 2)))
        with pytest.raises(RefusalError) as stored:
            read_reply(one.socket.recv(timeout=10))
        assert stored.value.code == "internal" and "its log says why" in str(stored.value)
        assert read_reply(other.socket.recv(timeout=10)).sequence == 2
        assert refused(one, step(tiny, names[0], 2)).code == "unknown_session"


def fails(monkeypatch, bad) -> None:
    predict = Policy.predict_together

    def predict_or_fail(self, sessions, committed=None):
        if any(session is bad for session in sessions):
            raise ZeroDivisionError("no reason")
        return predict(self, sessions, committed)

    monkeypatch.setattr(Policy, "predict_together", predict_or_fail)


def test_actions_that_are_not_finite_are_never_sent(tiny, house, observed, monkeypatch) -> None:
    server = house.server(tiny.policy())
    monkeypatch.setattr(
        "foreact.policy.controllers.replace",
        lambda chunk, **_: replace(chunk, actions=np.full_like(chunk.actions, np.nan)),
    )
    with house.Raw(server.address) as client:
        assert "internal" in client.infer(observed())
        name = client.start(mode="synchronous").session
        assert refused(client, begin(tiny, name)).code == "internal"


@pytest.mark.parametrize("mode", ["synchronous", "grounded"])
def test_a_long_turn_is_taken_in_pieces_and_leads_to_the_same(tiny, house, mode: str, monkeypatch, one_thread) -> None:
    policy = tiny.policy(**house.trained)
    alone = PolicyController(policy, "push it", mode=mode)
    called, call = [], Engine.call
    monkeypatch.setattr(
        Engine, "call", lambda self, work, **settings: (called.append(1), call(self, work, **settings))[1]
    )
    under_way = 0 if mode == "synchronous" else 1
    with house.Raw(house.server(policy).address) as client:
        name = client.start(mode=mode).session
        first = begin(tiny, name)
        client.ask(first)
        alone.begin(Observation(images=first.images, state=STATE, time_s=0.0))
        for sequence, num_frames in ((2, 7), (3, 2), (4, 16)):
            about = {"num_frames": num_frames, "under_way": under_way, "sent_s": time.monotonic()}
            message = step(tiny, name, sequence, **about)
            called.clear()
            got = client.ask(message)
            turn = Turn(
                images=message.images, executed=message.executed, under_way=message.under_way, prefix=message.prefix
            )
            expected = alone.proceed(turn)
            np.testing.assert_allclose(got.actions, expected.actions, atol=1e-5)
            assert got.disagreement == pytest.approx(expected.disagreement, abs=1e-5)
            assert len(called) == (num_frames + 1) // 2 - 1


@pytest.mark.parametrize("failing", [0, 1])
def test_a_long_turn_that_fails_on_the_way(tiny, house, failing: int, monkeypatch) -> None:
    """Refused at its first piece, the session is as it was; later, it is over."""
    with house.Raw(house.server(tiny.policy()).address) as client:
        name = client.start(mode="synchronous").session
        client.ask(begin(tiny, name))
        observe, count = PolicyController.observe_piece, iter(range(99))

        def fail(self, piece):
            if next(count) == failing:
                raise CapacityError("memory", got="none left")
            observe(self, piece)

        monkeypatch.setattr(PolicyController, "observe_piece", fail)
        assert refused(client, step(tiny, name, 2, num_frames=6)).code == ("internal" if failing else "busy")
        monkeypatch.undo()
        if failing:
            assert refused(client, step(tiny, name, 2, num_frames=6)).code == "unknown_session"
        else:
            assert client.ask(step(tiny, name, 2, num_frames=6)).sequence == 2


def test_where_a_policy_lies_is_not_told(tiny, house) -> None:
    with house.Raw(house.server(tiny.policy(), name="/home/somebody/runs/pick/policy").address) as client:
        assert client.facts.policy == "policy"


def test_numbers_that_no_robot_means_are_the_clients_error(tiny, house, observed) -> None:
    absurd = np.array([0.1, 3e38, 0.0], np.float32)
    with house.Raw(house.server(tiny.policy()).address) as client:
        assert "bad_observation" in client.infer(observed() | {"observation/state": absurd})
        name = client.start(mode="synchronous").session
        stored = refused(client, begin(tiny, name, state=absurd))
        assert stored.code == "bad_observation" and "largest number in state; got: 3e+38" in str(stored)
        client.ask(begin(tiny, name))
        executed = tiny.actions(8)
        executed[0, 0] = -3e38
        assert refused(client, step(tiny, name, 2, executed=executed)).code == "bad_observation"
        assert client.ask(step(tiny, name, 2)).sequence == 2


def test_what_was_got_is_told_briefly(tiny, house, observed) -> None:
    value: object = b""
    for _ in range(400):
        value = {"": value, "x": b"\x00" * 40}
    with house.Raw(house.server(tiny.policy()).address) as client:
        for wrong in ({"prompt": value}, {"observation/state": value}, {"prompt": [value] * 100}):
            assert len(client.infer(observed() | wrong)) < 500


def test_more_than_can_wait_is_refused(tiny, house, observed, monkeypatch) -> None:
    server = house.server(tiny.policy(), limits={"queue": 1}, batching=house.batching(most=1))
    monkeypatch.setattr("foreact.serving.computing.proceed_together", slowly)

    def ask(number: int):
        time.sleep(0.1 * number)
        with house.Raw(server.address) as client:
            return client.infer(observed())

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(ask, range(3)))
    assert [isinstance(answer, str) and "busy" in answer for answer in answers] == [False, False, True]


def wait_until(reached) -> None:
    for _ in range(500):
        if reached():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def test_a_picture_as_nested_lists_is_refused_as_openpis_clients_understand(tiny, house, observed) -> None:
    """It is too much to be read at all, so it is not known yet which protocol it is of: a text is an error in both."""
    server = house.server(tiny.policy())
    lists = observed() | {"observation/images/top": np.zeros((64, 64, 3), np.uint8).tolist()}
    with house.Raw(server.address) as client:
        assert isinstance(client.infer(lists), str)
        assert client.infer(observed())["actions"].shape == (8, 3)
        assert isinstance(client.infer(lists), str)


def test_a_state_in_other_units_is_logged_once_a_joint(tiny, house, observed, caplog) -> None:
    server = house.server(tiny.policy())
    odd = observed() | {"observation/state": np.array([0.0, 57.3, 0.5], np.float32)}
    with house.Raw(server.address) as client, caplog.at_level("WARNING", logger="foreact.serving"):
        for _ in range(2):
            assert client.infer(odd)["actions"].shape == (8, 3)
    (record,) = [record for record in caplog.records if record.msg == "odd state"]
    assert "elbow is 57.3, and it moves between -2 and 2" in record.why
