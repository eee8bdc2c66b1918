"""Acting while thinking: what each controller plans on, and that C never learns of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from foreact.control.clock import VirtualClock
from foreact.control.controller import Controller, Turn
from foreact.control.drive import drive
from foreact.control.latency import constant
from foreact.control.worker import VirtualWorker
from foreact.errors import ConfigurationError, InputError
from foreact.policy.committed import Committed
from foreact.policy.controllers import (
    MODES,
    PolicyController,
    check_mode,
    control_config,
    observe_together,
    proceed_together,
    with_room,
)
from foreact.policy.policy import Policy
from foreact.types import ActionChunk, Observation

STATE = np.array([0.1, -0.2, 0.5], np.float32)
NOTHING = np.zeros((0, 3), np.float32)
TRAINED = dict(forward_dynamics=True, action_prefixes=True)


def observation(tiny) -> Observation:
    return Observation(images={c: clip[0] for c, clip in tiny.images(1).items()}, state=STATE, time_s=0.0)


def turn(tiny, number: int, num_frames: int = 2, under_way: int = 0, prefix: int = 0) -> Turn:
    """`num_frames` latent frames of four actions and two pictures each."""
    return Turn(
        images=tiny.images(2 * num_frames, seed=number),
        executed=tiny.actions(4 * num_frames, seed=number),
        under_way=tiny.actions(4 * under_way, seed=number + 100) if under_way else NOTHING,
        prefix=tiny.actions(prefix, seed=number + 200) if prefix else NOTHING,
    )


def started(policy: Policy, tiny, mode: str, **settings) -> tuple[PolicyController, ActionChunk]:
    controller = PolicyController(policy, "push", mode=mode, **settings)  # type: ignore[arg-type]
    return controller, controller.begin(observation(tiny))


def cached(controller: PolicyController) -> tuple[torch.Tensor, ...]:
    return tuple(value.clone() for value in controller.session.rollout.cache.observed())


def test_each_is_what_the_robots_side_asks_for(tiny) -> None:
    policy = tiny.policy(**TRAINED)
    facts = {}
    for mode in MODES:
        controller = PolicyController(policy, "push", mode=mode)  # type: ignore[arg-type]
        assert isinstance(controller, Controller)
        facts[mode] = (controller.waits, controller.inpaints)
    assert facts == {
        "synchronous": (True, False),
        "naive": (False, False),
        "grounded": (False, False),
        "prefixed": (False, True),
        "open_loop": (True, False),
    }


@pytest.mark.parametrize("mode", ["naive", "grounded", "prefixed"])
def test_with_nothing_under_way_all_are_synchronous(tiny, one_thread, mode: str) -> None:
    policy = tiny.policy(**TRAINED)
    expected, got = (started(policy, tiny, each) for each in ("synchronous", mode))
    assert np.array_equal(expected[1].actions, got[1].actions)
    for number in range(3):
        chunks = [controller.proceed(turn(tiny, number)) for controller, _ in (expected, got)]
        assert np.array_equal(chunks[0].actions, chunks[1].actions)
        assert chunks[0].disagreement == chunks[1].disagreement > 0


@pytest.mark.parametrize("mode", ["naive", "grounded", "prefixed"])
def test_what_was_observed_is_the_same_under_all(tiny, one_thread, mode: str) -> None:
    """C of an asynchronous run is the C of a synchronous one over the same observations, to the last bit; C' is not."""
    policy = tiny.policy(**TRAINED, window=5)
    waiting, acting = (started(policy, tiny, each)[0] for each in ("synchronous", mode))
    differed = False
    for number in range(5):
        frames, ahead = (1, 2) if number % 2 else (2, 1)
        given = turn(tiny, number, frames, under_way=ahead, prefix=3 if mode == "prefixed" else 0)
        chunk = acting.proceed(given)
        alone = waiting.proceed(replace(given, under_way=NOTHING, prefix=NOTHING))
        assert all(torch.equal(a, b) for a, b in zip(cached(acting), cached(waiting), strict=True))
        differed |= not np.allclose(chunk.actions, alone.actions)
    assert differed and acting.session.rollout.num_observed == 1 + 2 + 1 + 2 + 1 + 2


def test_grounded_looks_and_naive_believes(tiny) -> None:
    """Grounded imagines anew where the actions under way lead; naive does not."""
    policy = tiny.policy(**TRAINED)
    for mode, foresees in (("grounded", True), ("naive", False)):
        controller, _ = started(policy, tiny, mode)
        chunk = controller.proceed(turn(tiny, 1, num_frames=1, under_way=1))
        assert (chunk.foreseen_latents is not None) == foresees
        if foresees:
            assert chunk.foreseen_latents.shape == (4, 1, 4, 4)


def test_naive_believes_what_it_imagined_of_these_frames(tiny, monkeypatch) -> None:
    policy, given = tiny.policy(), []
    controller, first = started(policy, tiny, "naive")
    predict = controller.policy.predict_together

    def spy(sessions, committed=None):
        given.extend(committed)
        return predict(sessions, committed)

    monkeypatch.setattr(controller.policy, "predict_together", spy)
    controller.proceed(turn(tiny, 1, num_frames=1, under_way=1))
    assert np.array_equal(given[0].believed.numpy(), first.imagined_latents[:, 1:2])


def test_prefixes_are_where_the_new_chunk_begins(tiny) -> None:
    controller, _ = started(tiny.policy(**TRAINED), tiny, "prefixed")
    given = turn(tiny, 1, under_way=1, prefix=3)
    chunk = controller.proceed(given)
    np.testing.assert_allclose(chunk.actions[:3], given.prefix, atol=1e-5)


def test_disagreement_is_how_far_the_imagined_is_from_the_seen(tiny) -> None:
    controller, first = started(tiny.policy(), tiny, "synchronous")
    seen = []
    controller._on_observed = seen.append
    chunk = controller.proceed(turn(tiny, 1))
    difference = first.imagined_latents - seen[0].numpy()
    assert chunk.disagreement == pytest.approx(np.sqrt((difference**2).mean(axis=(0, 2, 3))).mean(), rel=1e-5)


def test_thresholds_that_are_no_numbers(tiny) -> None:
    policy = tiny.policy(**TRAINED)
    with pytest.raises(ConfigurationError, match="threshold of disagreement; got: nan"):
        PolicyController(policy, "push", threshold=float("nan"))
    for wrong in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ConfigurationError, match="disagreement_threshold"):
            replace(policy.config, disagreement_threshold=wrong)


def test_where_they_disagree_it_asks_to_see_first(tiny) -> None:
    policy = tiny.policy(**TRAINED)
    controller, _ = started(policy, tiny, "grounded", threshold=0.0)
    chunk = controller.proceed(turn(tiny, 1, num_frames=1, under_way=1))
    assert len(chunk.actions) == 0 and chunk.disagreement > 0
    chunk = controller.proceed(turn(tiny, 2, num_frames=1))
    assert len(chunk.actions) == 8
    lenient, _ = started(policy, tiny, "grounded", threshold=1e9)
    assert len(lenient.proceed(turn(tiny, 1, num_frames=1, under_way=1)).actions) == 8
    calibrated = policy.with_config(replace(policy.config, disagreement_threshold=0.0))
    assert PolicyController(calibrated, "push").threshold == 0.0
    assert PolicyController(policy, "push").threshold is None


def test_more_than_a_chunk_may_have_passed(tiny, one_thread) -> None:
    """An answer came late: five latent frames are seen at once, as two chunks and a half."""
    policy = tiny.policy(**TRAINED)
    late, punctual = (started(policy, tiny, "grounded")[0] for _ in range(2))
    whole = turn(tiny, 3, num_frames=5)
    late.proceed(whole)
    for start, stop in ((0, 2), (2, 4), (4, 5)):
        images = {camera: clip[2 * start : 2 * stop] for camera, clip in whole.images.items()}
        punctual.policy.observe(punctual.session, images, whole.executed[4 * start : 4 * stop])
    assert all(torch.equal(a, b) for a, b in zip(cached(late), cached(punctual), strict=True))


def test_many_robots_are_answered_at_once(tiny) -> None:
    """Modes, lengths and what is under way differ; one must see first; each gets what it would have got alone."""
    policy = with_room(tiny.policy(**TRAINED))
    modes = [("grounded", None), ("naive", None), ("prefixed", None), ("synchronous", None), ("grounded", 0.0)]
    alone, together = (
        [started(policy, tiny, mode, threshold=threshold, seed=n)[0] for n, (mode, threshold) in enumerate(modes)]
        for _ in range(2)
    )
    for number in (1, 2):
        turns = [
            turn(tiny, number, num_frames=1, under_way=2),
            turn(tiny, number, num_frames=2, under_way=1),
            turn(tiny, number, num_frames=3, prefix=2),
            turn(tiny, number, num_frames=5),
            turn(tiny, number, num_frames=2, under_way=1 if number == 1 else 0),
        ]
        expected = [controller.proceed(given) for controller, given in zip(alone, turns, strict=True)]
        got = proceed_together(together, turns)
        for mine, oracle in zip(got, expected, strict=True):
            np.testing.assert_allclose(mine.actions, oracle.actions, atol=2e-5)
            assert mine.disagreement == pytest.approx(oracle.disagreement, abs=1e-5)
        assert [len(chunk.actions) for chunk in got] == [8, 8, 8, 8, 0 if number == 1 else 8]


def test_open_loop_never_looks(tiny) -> None:
    policy, results = tiny.policy(), []
    for number in (1, 2):
        controller, _ = started(policy, tiny, "open_loop")
        chunk = controller.proceed(turn(tiny, number))
        assert chunk.disagreement is None
        results.append(chunk.actions)
    assert np.array_equal(*results)


@pytest.mark.parametrize(
    ("mode", "settings", "allowed"),
    [
        ("grounded", {}, "synchronous, naive"),
        ("prefixed", {"forward_dynamics": True}, "synchronous, naive"),
        ("naive", {"imagines": False}, "synchronous"),
        ("sometimes", {}, "synchronous, naive, grounded, prefixed"),
    ],
)
def test_what_a_policy_was_not_trained_for_is_refused(tiny, mode: str, settings: dict, allowed: str) -> None:
    with pytest.raises(ConfigurationError, match=allowed):
        check_mode(tiny.policy(**settings), mode)


@pytest.mark.parametrize(
    ("settings", "under_way", "prefix", "complaint"),
    [
        (TRAINED, 3, 0, "under way"),
        (TRAINED, 12, 0, "under way"),
        (TRAINED, 0, 8, "prefix"),
        (dict(action_prefixes=True), 4, 0, "forward_dynamics"),
        (dict(forward_dynamics=True), 0, 2, "action_prefixes"),
    ],
)
def test_what_cannot_be_committed(tiny, settings: dict, under_way: int, prefix: int, complaint: str) -> None:
    policy = with_room(tiny.policy(**settings))
    session = policy.start("push")
    policy.observe_first(session, tiny.images(1), STATE)
    committed = Committed(
        under_way=np.zeros((under_way, 3), np.float32) + 0.5, prefix=np.zeros((prefix, 3), np.float32) + 0.5
    )
    with pytest.raises((ConfigurationError, InputError), match=complaint):
        policy.predict(session, committed)
    assert policy.predict(session).actions.shape == (8, 3)


def test_room_is_made_where_there_is_none(tiny) -> None:
    policy = tiny.policy(**TRAINED)
    roomy = with_room(policy)
    assert roomy.config.asynchronous and with_room(roomy) is roomy and roomy.networks is policy.networks
    committed = Committed(under_way=tiny.actions(4), prefix=NOTHING)
    session = policy.start("push")
    policy.observe_first(session, tiny.images(1), STATE)
    with pytest.raises(ConfigurationError, match="asynchronous"):
        policy.predict(session, committed)


@pytest.mark.parametrize("mode", ["synchronous", "naive"])
def test_a_first_frame_in_the_first_chunk(tiny, mode: str) -> None:
    """Policies trained as the published weights were: their first chunk is shorter, and all goes on from there."""
    policy = tiny.policy(first_frame="chunk")

    class Robot:
        num = 0

        @property
        def done(self) -> bool:
            return self.num >= 30

        def observe(self) -> Observation:
            return observation(tiny)

        def act(self, action: np.ndarray) -> None:
            self.num += 1

    clock, begun = VirtualClock(), []
    controller = PolicyController(policy, "push", mode=mode)  # type: ignore[arg-type]
    worker = VirtualWorker(clock, constant(0.06))
    drive(Robot(), controller, control_config(policy), clock=clock, worker=worker, on_chunk=begun.append)
    chunks = [placed for placed in begun if len(placed.chunk.actions)]
    assert [placed.begin_tick for placed in chunks][:4] == [0, 4, 12, 20]
    assert [len(placed.chunk.actions) for placed in chunks][:3] == [4, 8, 8]
    assert len(begun) - len(chunks) == (mode == "naive"), "it must see where it begins before it goes on"


@pytest.mark.parametrize("mode", ["synchronous", "open_loop"])
def test_observing_first_and_asking_later_is_the_same(tiny, mode) -> None:
    policy = tiny.policy(**TRAINED)
    whole, first = started(policy, tiny, mode)
    apart = PolicyController(policy, "push", mode=mode)
    apart.observe_first(observation(tiny))
    nothing = Turn(images={}, executed=NOTHING, under_way=NOTHING, prefix=NOTHING)
    np.testing.assert_array_equal(apart.proceed(nothing).actions, first.actions)
    next_one = whole.proceed(turn(tiny, 1))
    assert observe_together([apart], [turn(tiny, 1)]) == [next_one.disagreement]
    assert (next_one.disagreement is None) == (mode == "open_loop")
    if mode == "synchronous":  # open loop, having believed once, believes again when asked
        np.testing.assert_array_equal(apart.proceed(nothing).actions, next_one.actions)
    for one, other in zip(cached(whole), cached(apart), strict=True):
        assert torch.equal(one, other)
