import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file

from foreact.embodiments import ActionCodec, Dof, QuantileNormalizer, load_embodiment
from foreact.errors import ConfigurationError, InputError, UnknownNameError


def make_codec(name: str) -> ActionCodec:
    embodiment = load_embodiment(name)
    actions = np.random.default_rng(0).uniform(-1, 1, (500, embodiment.num_dofs))
    return ActionCodec.fit(embodiment, embodiment.to_universal(actions))


GOLDEN = Path(__file__).parents[1] / "golden"
CODECS = {name: make_codec(name) for name in ("aloha", "libero_panda")}


@pytest.mark.parametrize("name", CODECS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_round_trip_in_float32(name, data):
    codec = CODECS[name]
    shape = (data.draw(st.integers(0, 4)), codec.embodiment.num_dofs)
    actions = data.draw(arrays(np.float32, shape, elements=st.floats(-1, 1, width=32)))
    model_actions = codec.encode(actions)
    assert model_actions.dtype == np.float32 and model_actions.shape == (len(actions), 30)
    assert not model_actions[:, ~codec.mask].any()
    decoded = codec.decode(model_actions)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, actions, atol=2e-6)


def test_encoding_is_mapping_then_normalisation():
    codec = CODECS["aloha"]
    actions = np.random.default_rng(1).uniform(-1, 1, (5, 14))
    expected = codec.normalizer.normalize(codec.embodiment.to_universal(actions))
    np.testing.assert_allclose(codec.encode(actions), expected, atol=1e-6)


def test_model_actions_need_not_be_rotations():
    """A network's quaternion has no unit length; the robot still gets a pose."""
    codec = CODECS["libero_panda"]
    decoded = codec.decode(np.random.default_rng(0).normal(size=(100, 30)).astype(np.float32))
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize("setting", ["side_by_side", "t_shape"])
def test_raw_channels_are_the_published_programs(setting):
    """Its first fed-back actions are model zeros in the robot's units, entries in the order of the used channels."""
    stored = json.loads((GOLDEN / setting / "trace.json").read_text())
    fed_back = load_file(GOLDEN / setting / "trace.safetensors")["chunk0.state_fed_back"]
    channels = tuple(stored["used_action_channels"])
    dofs = tuple(Dof(name=str(channel)) for channel in channels)
    robot = replace(load_embodiment("libero_published"), dofs=dofs, channels=channels, state_names=())
    normalizer = QuantileNormalizer.from_dict(
        {"q01": stored["q01"], "q99": stored["q99"], "mask": robot.channel_mask, "epsilon": 1e-6}
    )
    codec = ActionCodec(embodiment=robot, normalizer=normalizer)
    first = fed_back[:, 0].T
    np.testing.assert_allclose(codec.decode(np.zeros((len(first), 30))), first, atol=1e-6)
    np.testing.assert_allclose(codec.encode(first), 0, atol=1e-5)


def test_the_first_pose_reaches_relative_arms():
    settings = load_embodiment("aloha").to_dict()
    for arm in settings["arms"]:
        arm["representation"] = "relative"
    embodiment = load_embodiment("aloha").from_dict(settings)
    first = np.full(14, 0.5)
    codec = ActionCodec(embodiment=embodiment, normalizer=CODECS["aloha"].normalizer)
    actions = np.random.default_rng(0).uniform(0, 1, (4, 14))
    np.testing.assert_allclose(codec.decode(codec.encode(actions, first), first), actions, atol=1e-6)
    shifted = codec.decode(codec.encode(actions, first), first + 0.1) - actions
    np.testing.assert_allclose(shifted[:, [6, 13]], 0.0, atol=1e-6)
    np.testing.assert_allclose(np.delete(shifted, [6, 13], axis=1), 0.1, atol=1e-6)
    with pytest.raises(InputError, match="initial pose"):
        codec.encode(actions)


def test_a_normalisation_of_another_robot_is_refused():
    with pytest.raises(ConfigurationError, match=r"normalisation for 'aloha'.*left_x.*channel_mask"):
        ActionCodec(embodiment=CODECS["aloha"].embodiment, normalizer=CODECS["libero_panda"].normalizer)


def test_nan_is_refused_both_ways():
    codec = CODECS["aloha"]
    with pytest.raises(InputError, match="'left_waist'"):
        codec.encode(np.full((1, 14), np.nan))
    with pytest.raises(InputError, match="'left_joint0'"):
        codec.decode(np.full((1, 30), np.nan, dtype=np.float32))


def test_a_checkpoint_can_store_it_whole():
    for codec in CODECS.values():
        assert ActionCodec.from_dict(json.loads(json.dumps(codec.to_dict()))) == codec
    with pytest.raises(UnknownNameError, match="setting of action codec"):
        ActionCodec.from_dict({**CODECS["aloha"].to_dict(), "scale": 2})


def test_the_mask_is_the_embodiments():
    codec = CODECS["aloha"]
    assert isinstance(codec.normalizer, QuantileNormalizer)
    np.testing.assert_array_equal(codec.mask, codec.embodiment.channel_mask)


def test_a_state_in_other_units_is_odd() -> None:
    robot = load_embodiment("aloha")
    corners = np.stack([np.zeros(30), np.ones(30)]) * robot.channel_mask
    codec = ActionCodec.fit(robot, corners)
    radians = np.array([0, -0.96, 1.16, 0, -0.3, 0, 1.0] * 2)
    assert codec.odd_entries(radians) == []
    odd = codec.odd_entries(np.array([0, -55, 66, 0, -17, 0, 1.0] * 2))
    assert len(odd) == 6 and odd[0] == "left_shoulder is -55, and it moves between -1.85 and 1.257"


def test_a_robot_without_limits_is_compared_with_what_it_was_trained_on() -> None:
    robot = load_embodiment("aloha")
    free = replace(robot, dofs=tuple(replace(dof, low=None, high=None) for dof in robot.dofs))
    actions = np.random.default_rng(0).uniform(-1, 1, (500, 30)) * robot.channel_mask
    codec = ActionCodec.fit(free, actions)
    assert codec.odd_entries(np.full(14, 0.9)) == []
    assert len(codec.odd_entries(np.full(14, 30.0))) == 12  # grippers are not compared
