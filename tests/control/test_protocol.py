"""Every message there and back; everything else refused with a reason, whatever it is."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from foreact.control.fields import Actions, Clips, MaybeLatents, MaybeState, Milliseconds, Pictures, State
from foreact.control.limits import MotionLimits
from foreact.control.packing import pack, unpack
from foreact.control.protocol import (
    CODES,
    FROM_ROBOT,
    FROM_SERVER,
    VERSION,
    Begin,
    Error,
    Facts,
    Observe,
    Predict,
    RefusalError,
    Start,
    Step,
    Stop,
    encode,
    read_facts,
    read_reply,
    read_request,
)
from foreact.errors import ConfigurationError, InputError

FLOATS = st.floats(-(2.0**30), 2.0**30)


def floats(num_dims: int):
    shapes = st_np.array_shapes(min_dims=num_dims, max_dims=num_dims, min_side=0, max_side=3)
    return st_np.arrays(np.float32, shapes, elements=st.floats(-1e6, 1e6, width=32))


def images(num_dims: int):
    shapes = st_np.array_shapes(min_dims=num_dims - 1, max_dims=num_dims - 1, min_side=0, max_side=3)
    pictures = shapes.flatmap(lambda shape: st_np.arrays(np.uint8, (*shape, 3)))
    return st.dictionaries(st.text(max_size=4), pictures, max_size=2)


VALUES = {
    str: st.text(max_size=8),
    str | None: st.none() | st.text(max_size=8),
    int: st.integers(0, 2**63 - 1),
    float: FLOATS,
    float | None: st.none() | FLOATS,
    bool: st.booleans(),
    list[str]: st.lists(st.text(max_size=4), max_size=3),
    Milliseconds: st.dictionaries(st.text(max_size=4), FLOATS, max_size=3),
    Pictures: images(3),
    Clips: images(4),
    Actions: floats(2),
    State: floats(1),
    MaybeState: st.none() | floats(1),
    MaybeLatents: st.none() | floats(4),
}


def messages(kinds):
    return st.sampled_from(list(kinds.values())).flatmap(
        lambda kind: st.builds(kind, **{each.name: VALUES[each.type] for each in fields(kind)})
    )


def same(one, other) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def alike(one, other) -> bool:
    return type(one) is type(other) and all(
        same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one)
    )


@given(messages(FROM_ROBOT))
def test_requests_come_back(message) -> None:
    assert alike(read_request(unpack(encode(message))), message)


@given(messages({name: kind for name, kind in FROM_SERVER.items() if kind is not Error}))
def test_replies_come_back(message) -> None:
    assert alike(read_reply(encode(message)), message)


@pytest.mark.parametrize("code", CODES)
def test_refusals_are_raised_with_their_code(code: str) -> None:
    with pytest.raises(RefusalError, match="because") as refused:
        read_reply(encode(Error(code=code, message="because")))
    assert refused.value.code == code


def facts(**changes) -> Facts:
    usual = {
        "version": VERSION,
        "policy": "tiny",
        "digest": "0",
        "embodiment": "toy",
        "action_names": ["a"],
        "action_units": ["rad"],
        "motion_limits": {"low": [-1.0], "high": [None], "velocity": [3.0], "acceleration": [None]},
        "unlimited_actions": [],
        "state_names": ["a"],
        "state_is_action": True,
        "cameras": {"top": [16, 8]},
        "action_hz": 50.0,
        "camera_stride": 2,
        "actions_per_latent_frame": 4,
        "latent_frames_per_chunk": 2,
        "modes": ["synchronous"],
        "limits": {"sessions": 64.0},
    }
    return Facts(**usual | changes)


def test_a_robot_is_driven_within_its_limits_unless_it_is_asked_otherwise() -> None:
    config = facts().control_config(watchdog_s=None)
    assert config.limits == MotionLimits(low=(-1.0,), high=None, velocity=(3.0,), acceleration=None)
    own = MotionLimits(velocity=(1.0,))
    assert facts().control_config(limits=own).limits == own
    assert facts().control_config(unlimited=True).limits is None
    two = facts(action_names=["a", "b"], motion_limits={"low": [None, -1.0], "velocity": [None, 2.0]})
    assert two.control_config().limits == MotionLimits(low=(-np.inf, -1.0), velocity=(np.inf, 2.0))


def test_a_robot_that_does_not_say_its_limits_is_not_driven_without_being_asked_to() -> None:
    stored = facts(motion_limits={"low": [-1.0]}, unlimited_actions=["a"])
    with pytest.raises(ConfigurationError, match=r"motion limits of 'toy'; got: none for a; .*unlimited=True"):
        stored.control_config()
    assert stored.control_config(unlimited=True).limits is None
    assert stored.control_config(limits=MotionLimits(velocity=(1.0,))).limits is not None


@pytest.mark.parametrize("wrong", [{"low": 1.0}, {"low": ["a"]}, {"low": [float("nan")]}, [1.0]])
def test_limits_that_are_no_numbers(wrong) -> None:
    with pytest.raises(RefusalError, match="motion_limits of 'facts'"):
        read_facts(pack(unpack(encode(facts())) | {"motion_limits": wrong}))


def test_facts_come_back_and_those_of_other_servers_are_refused() -> None:
    assert read_facts(encode(facts())) == facts()
    for data, complaint in (
        (encode(facts(version=99)), "same version of foreact"),
        (pack({"some": "server"}), "first message of the server"),
        ("text", "first message of the server"),
        (b"\xc1", "cannot be read"),
        (encode(facts(cameras={"top": [16]})), "cameras of 'facts'"),
    ):
        with pytest.raises(RefusalError, match=complaint):
            read_facts(data)


BEGIN = Begin(
    session="s",
    sequence=1,
    sent_s=0.0,
    images={"top": np.zeros((2, 2, 3), np.uint8)},
    state=np.zeros(3, np.float32),
)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"type": "begun"}, "type of a message; got: 'begun'"),
        ({"type": 7}, "type of a message; got: 7"),
        ({"type": None}, "type of a message"),
        ({"extra": 1}, "also extra"),
        ({"sequence": -1}, "sequence of 'begin'"),
        ({"sequence": True}, "sequence of 'begin'"),
        ({"sequence": 1.0}, "sequence of 'begin'"),
        ({"sent_s": float("nan")}, "sent_s of 'begin'"),
        ({"sent_s": float("inf")}, "sent_s of 'begin'"),
        ({"session": 5}, "session of 'begin'"),
        ({"state": np.zeros((3, 1), np.float32)}, "state of 'begin'"),
        ({"state": np.zeros(3)}, "state of 'begin'; got: float64"),
        ({"state": np.full(3, np.nan, np.float32)}, "not finite"),
        ({"state": [0.0, 1.0]}, "state of 'begin'"),
        ({"images": {"top": np.full((2, 2, 3), np.nan, np.float32)}}, "images of 'begin'"),
        ({"images": {"top": np.zeros((2, 2, 4), np.uint8)}}, "images of 'begin'"),
        ({"images": {"top": np.zeros((1, 2, 2, 3), np.uint8)}}, "images of 'begin'"),
        ({"images": [1]}, "images of 'begin'"),
    ],
)
def test_wrong_fields_are_named(changes: dict, complaint: str) -> None:
    plain = unpack(encode(BEGIN)) | changes
    with pytest.raises(RefusalError, match=complaint) as refused:
        read_request(plain)
    assert refused.value.code == "bad_message"


def test_missing_fields_are_named() -> None:
    plain = unpack(encode(BEGIN))
    del plain["state"]
    with pytest.raises(RefusalError, match="no state; allowed: session, sequence"):
        read_request(plain)


@pytest.mark.parametrize(
    "reply",
    ["Traceback ...", b"\xc1", pack([1]), pack({"actions": 1}), pack({"type": "error", "code": "odd", "message": ""})],
)
def test_what_is_no_answer(reply) -> None:
    with pytest.raises(RefusalError) as refused:
        read_reply(reply)
    assert refused.value.code == "bad_message"


def valid_messages() -> list[bytes]:
    """One of each kind, as robots send them, and one of openpi's."""
    rng = np.random.default_rng(0)
    clips = {camera: rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8) for camera in ("top", "wrist")}
    actions = rng.normal(size=(4, 3)).astype(np.float32)
    about = {"session": "0123456789abcdef", "sequence": 3, "sent_s": 12.5}
    some = [
        Start(
            version=VERSION,
            instruction="push",
            mode="grounded",
            seed=1,
            imagined=True,
            session=None,
            token=None,
            sent_s=0.0,
        ),
        Begin(**about, images={camera: clip[0] for camera, clip in clips.items()}, state=actions[0]),
        Step(**about, images=clips, executed=actions, under_way=actions, prefix=actions[:2]),
        Observe(**about, images=clips, executed=actions, state=None),
        Predict(**about),
        Stop(session="0123456789abcdef"),
    ]
    openpi = {"observation/images/top": clips["top"][0], "observation/state": actions[0], "prompt": "push"}
    return [*map(encode, some), pack(openpi)]


@pytest.mark.parametrize("count", [4000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_message_that_was_cut_or_changed_is_read_or_refused(count: int, mutated) -> None:
    """Nothing but a refusal comes of it: no other error, no hang. Some are right all the same: a pixel has changed."""
    rng, messages, num_read = np.random.default_rng(0), valid_messages(), 0
    for _ in range(count):
        try:
            read_request(unpack(mutated(rng, messages)))
            num_read += 1
        except (InputError, RefusalError):
            pass
    assert 0 < num_read < count / 2
