"""Batches: one question that cannot be answered spoils none of the others, and no session is left in between."""

import numpy as np
import pytest
import torch

from foreact.control.controller import Turn
from foreact.control.protocol import RefusalError
from foreact.errors import CapacityError
from foreact.policy.controllers import PolicyController, with_room
from foreact.policy.policy import Policy
from foreact.serving.computing import BrokenSessionError, Question, compute
from foreact.types import Observation

STATE = np.array([0.1, -0.2, 0.5], np.float32)
NONE = np.zeros((0, 3), np.float32)


def first(tiny, **changes) -> Observation:
    images = {camera: clip[0] for camera, clip in tiny.images(1).items()}
    return Observation(**{"images": images, "state": STATE, "time_s": 0.0} | changes)


def turn(tiny, number: int, *, num_frames: int = 2) -> Turn:
    images, executed = tiny.images(2 * num_frames, seed=number), tiny.actions(4 * num_frames, seed=number)
    return Turn(images=images, executed=executed, under_way=NONE, prefix=NONE)


@pytest.fixture
def pair(tiny, one_thread):
    """Two robots that have begun, and two twins of theirs that are asked alone."""
    policy = with_room(tiny.policy(**{"forward_dynamics": True}))
    controllers = [PolicyController(policy, "push", seed=seed) for seed in (0, 1, 0, 1)]
    for controller in controllers:
        controller.begin(first(tiny))
    return controllers[:2], controllers[2:]


def same(one, other) -> None:
    np.testing.assert_allclose(one.actions, other.actions, atol=1e-5)
    assert (one.disagreement is None) == (other.disagreement is None)


def test_first_ones_turns_and_those_who_ask_once(tiny, pair) -> None:
    (one, other), (twin, other_twin) = pair
    make = lambda: PolicyController(one.policy, "pull", mode="synchronous", seed=5)  # noqa: E731
    blind = PolicyController(one.policy, "push", mode="open_loop")
    got = compute(
        [
            Question(controller=one, given=turn(tiny, 1)),
            Question(controller=make, given=first(tiny)),
            Question(controller=blind, given=first(tiny)),
            Question(controller=other, given=turn(tiny, 2, num_frames=3)),
        ]
    )
    alone = PolicyController(one.policy, "push", mode="open_loop")
    expected = [twin.proceed(turn(tiny, 1)), make().begin(first(tiny)), alone.begin(first(tiny))]
    expected.append(other_twin.proceed(turn(tiny, 2, num_frames=3)))
    for mine, theirs in zip(got, expected, strict=True):
        same(mine, theirs)


def test_input_that_is_refused_changes_nothing_for_anyone(tiny, pair) -> None:
    """The cameras' frames are one too few for what was executed: nobody checked before."""
    (one, other), (twin, other_twin) = pair
    bad = Turn(images=tiny.images(3), executed=tiny.actions(8), under_way=NONE, prefix=NONE)
    got = compute([Question(controller=one, given=bad), Question(controller=other, given=turn(tiny, 2))])
    assert isinstance(got[0], RefusalError) and got[0].code == "bad_observation"
    same(got[1], other_twin.proceed(turn(tiny, 2)))
    same(compute([Question(controller=one, given=turn(tiny, 1))])[0], twin.proceed(turn(tiny, 1)))


@pytest.mark.parametrize("where", ["append_observed_together", "predict_together"])
def test_a_failure_that_passes_is_made_good(tiny, pair, monkeypatch, where: str) -> None:
    """Before anything was appended, all is done again from what was; after, only the prediction."""
    (one, other), twins = pair
    predictor, failures = one.policy.predictor, [torch.OutOfMemoryError("once")]
    original = getattr(predictor, where)

    def fail_once(*args):
        if failures:
            raise failures.pop()
        return original(*args)

    monkeypatch.setattr(predictor, where, fail_once)
    got = compute([Question(controller=c, given=turn(tiny, n)) for n, c in enumerate((one, other))])
    for number, (chunk, twin) in enumerate(zip(got, twins, strict=True)):
        np.testing.assert_allclose(chunk.actions, twin.proceed(turn(tiny, number)).actions, atol=1e-5)


@pytest.mark.parametrize(
    ("error", "code"), [(CapacityError("memory"), "busy"), (torch.OutOfMemoryError(), "busy"), (KeyError("x"), None)]
)
def test_a_failure_that_stays(tiny, pair, monkeypatch, error: Exception, code: str | None) -> None:
    """Told as what it is if the session is as it was; else, or if nobody knows what it means, the session is broken."""
    (one, _), _ = pair

    def fail(*_):
        raise error

    monkeypatch.setattr(one.policy.predictor, "append_observed_together", fail)
    got = compute([Question(controller=one, given=turn(tiny, 1))])[0]
    if code is None:
        assert isinstance(got, BrokenSessionError) and got.__cause__ is error
    else:
        assert isinstance(got, RefusalError) and got.code == code
    monkeypatch.undo()
    monkeypatch.setattr(one.policy.predictor, "predict_together", fail)
    assert isinstance(compute([Question(controller=one, given=turn(tiny, 1))])[0], BrokenSessionError)


def test_a_turn_taken_in_half_breaks_the_session(tiny, pair, monkeypatch) -> None:
    """A turn longer than a chunk is appended in two; the second fails."""
    (one, _), _ = pair
    original, calls = Policy.observe_together, []

    def fail_second(self, *args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("x")
        return original(self, *args)

    monkeypatch.setattr(Policy, "observe_together", fail_second)
    got = compute([Question(controller=one, given=turn(tiny, 1, num_frames=4))])[0]
    assert isinstance(got, BrokenSessionError) and "taken in half" in str(got)


def test_one_who_cannot_be_made(tiny, pair) -> None:
    (one, _), (twin, _) = pair

    def fail():
        raise CapacityError("memory for one more session")

    def fall_over():
        raise KeyError("x")

    got = compute([Question(controller=make, given=first(tiny)) for make in (fail, fall_over)])
    assert isinstance(got[0], RefusalError) and got[0].code == "busy"
    assert isinstance(got[1], BrokenSessionError)
    state = Question(controller=lambda: PolicyController(one.policy, "x"), given=first(tiny, state=STATE[:2]))
    got = compute([state, Question(controller=one, given=turn(tiny, 1))])
    assert isinstance(got[0], RefusalError) and got[0].code == "bad_observation"
    same(got[1], twin.proceed(turn(tiny, 1)))
