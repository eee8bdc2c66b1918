import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file

from foreact.embodiments.normalization import QuantileNormalizer
from foreact.errors import ConfigurationError, InputError, UnknownNameError

GOLDEN = Path(__file__).parents[1] / "golden"
MASK = np.arange(30) % 3 != 0


def normalizer(**changes) -> QuantileNormalizer:
    q01 = np.linspace(-2.0, 0.5, 30)
    settings = {"q01": q01, "q99": q01 + np.linspace(0.02, 3.0, 30), "mask": MASK, **changes}
    return QuantileNormalizer(**settings)


def test_quantiles_become_one_and_minus_one():
    made = normalizer()
    np.testing.assert_allclose(made.normalize(made.q01[None])[0], np.where(MASK, -1.0, 0.0), atol=1e-12)
    np.testing.assert_allclose(made.normalize(made.q99[None])[0], np.where(MASK, 1.0, 0.0), atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    actions=arrays(np.float64, (3, 30), elements=st.floats(-10, 10)),
    epsilon=st.sampled_from([0.0, 1e-6]),
)
def test_round_trip_far_beyond_the_quantiles(actions, epsilon):
    made = normalizer(epsilon=epsilon)
    normalized = made.normalize(actions)
    assert not normalized[:, ~MASK].any()
    np.testing.assert_allclose(made.denormalize(normalized), np.where(MASK, actions, 0.0), atol=1e-9)
    in_float32 = made.denormalize(normalized.astype(np.float32))
    np.testing.assert_allclose(in_float32, np.where(MASK, actions, 0.0), atol=1e-6 * 10)


@settings(deadline=None, max_examples=40)
@given(actions=arrays(np.float64, (2, 30), elements=st.floats(-5, 5)))
def test_any_leading_axes(actions):
    made = normalizer()
    np.testing.assert_array_equal(made.normalize(actions[:, None]), made.normalize(actions)[:, None])
    np.testing.assert_array_equal(made.normalize(actions[0]), made.normalize(actions)[0])


@pytest.mark.parametrize("setting", ["side_by_side", "t_shape"])
def test_agrees_with_the_published_program(setting):
    """Its first actions are zeros in model units, recorded in physical ones; the epsilon shows in them."""
    settings = json.loads((GOLDEN / setting / "trace.json").read_text())
    used = settings["used_action_channels"]
    mask = np.isin(np.arange(30), used)
    made = QuantileNormalizer(q01=np.array(settings["q01"]), q99=np.array(settings["q99"]), mask=mask, epsilon=1e-6)
    trace = load_file(GOLDEN / setting / "trace.safetensors")
    zeros = made.denormalize(np.zeros(30))[used]
    recorded = trace["chunk0.state_fed_back"][:, 0, 0]
    np.testing.assert_allclose(zeros, recorded, atol=1e-7)
    physical = np.zeros(30)
    physical[used] = recorded
    np.testing.assert_allclose(made.normalize(physical), 0.0, atol=1e-6)


def test_fit_finds_the_quantiles():
    actions = np.random.default_rng(0).normal(size=(20_000, 30)) * np.arange(1, 31)
    made = QuantileNormalizer.fit(actions, MASK)
    np.testing.assert_allclose(made.q99[MASK], 2.326 * np.arange(1, 31)[MASK], rtol=0.05)
    inside = np.abs(made.normalize(actions)[:, MASK]) <= 1.0
    np.testing.assert_allclose(inside.mean(axis=0), 0.98, atol=1e-3)


def test_fit_ignores_outliers():
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, 30))
    wild = actions.copy()
    wild[:3] = 1e6
    np.testing.assert_allclose(
        QuantileNormalizer.fit(wild, MASK).q99, QuantileNormalizer.fit(actions, MASK).q99, atol=0.02
    )


EVERY = np.ones(30, bool)
JOINTS = slice(14, 28)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_an_arm_that_hardly_moves_is_not_blown_up(scale):
    """Its joints are compared with those that move, whatever the unit; no width is absolute."""
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, 30))
    actions[:, 20] = 0.7 + 1e-5 * actions[:, 20]
    made = QuantileNormalizer.fit(scale * actions, EVERY)
    widths = made.q99 - made.q01
    assert widths[20] == pytest.approx(0.01 * widths[JOINTS].max())
    assert np.abs(made.normalize(scale * actions)[:, 20]).max() < 1e-2
    np.testing.assert_allclose(widths[15], 1.96 * scale, rtol=0.02)


def test_a_kind_is_compared_with_itself_alone():
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, 30))
    actions[:, [0, 1, 2, 7, 8, 9]] *= 1e-4  # metres in a step, next to radians
    made = QuantileNormalizer.fit(actions, EVERY)
    assert np.abs(made.normalize(actions)).max() < 1.1
    assert np.abs(made.normalize(actions)[:, 0]).max() > 0.9


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_a_constant_channel_is_nothing_to_the_model_and_comes_back_as_it_was(noise):
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (200, 30))
    actions[:, 16] = 0.7 + noise * rng.normal(size=200)
    made = QuantileNormalizer.fit(actions, EVERY)
    assert not made.normalize(actions)[:, 16].any()
    wild = rng.normal(size=(5, 30)) * 10
    np.testing.assert_allclose(made.denormalize(wild)[:, 16], 0.7, atol=1e-8)
    again = QuantileNormalizer.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again == made


def test_an_arm_that_never_moves_at_all_is_constant():
    made = QuantileNormalizer.fit(np.full((50, 30), 0.3), EVERY)
    assert not made.normalize(np.full((2, 30), 5.0)).any()
    np.testing.assert_allclose(made.denormalize(np.ones((2, 30))), 0.3)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), share=st.sampled_from([0.0005, 0.002, 0.004, 0.05, 0.5]), peak=st.floats(0.01, 20))
def test_nothing_recorded_is_further_out_than_a_few_units(seed, share, peak):
    """Increments that are zero but for a few steps: the quantiles alone would say that the wrist never turns."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-0.3, 0.3, (4000, 30))
    actions[:, 18] = np.where(rng.random(4000) < share, peak * rng.choice([-1, 1], 4000), 0)
    actions[:, 4] = np.where(rng.random(4000) < share, peak, 0)
    normalized = QuantileNormalizer.fit(actions, EVERY).normalize(actions)
    assert np.abs(normalized).max() <= 3 + 1e-9


def test_fit_refuses_what_it_cannot_use():
    with pytest.raises(InputError, match=r"actions to fit.*none"):
        QuantileNormalizer.fit(np.zeros((0, 30)), MASK)
    with pytest.raises(InputError, match="nan at step 1 of 'left_qx'"):
        QuantileNormalizer.fit(np.where(np.arange(60).reshape(2, 30) == 33, np.nan, 0.0), MASK)


def test_other_widths_are_refused():
    for apply in (normalizer().normalize, normalizer().denormalize):
        with pytest.raises(InputError, match=r"actions to normalise; got: \[2, 29\]"):
            apply(np.zeros((2, 29)))


def test_impossible_ranges_name_the_channel():
    q99 = normalizer().q99.copy()
    q99[4] = -5.0
    with pytest.raises(ConfigurationError, match="range of left_qy; got: q99 below q01"):
        normalizer(q99=q99)
    q99[4], q99[3] = normalizer().q99[4], -5.0
    normalizer(q99=q99)  # channel 3 is not in use


def test_impossible_epsilon():
    with pytest.raises(ConfigurationError, match="epsilon"):
        normalizer(epsilon=-1e-6)


def test_json_round_trip_is_exact():
    made = QuantileNormalizer.fit(np.random.default_rng(0).normal(size=(50, 30)), MASK, epsilon=1e-6)
    again = QuantileNormalizer.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again == made and hash(again) == hash(made)
    assert again != normalizer()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q01": [0.0] * 29}, ConfigurationError, "normalisation q01.*30 finite numbers"),
        ({"q99": ["x"] * 30}, ConfigurationError, "normalisation q99"),
        ({"q99": [float("nan")] * 30}, ConfigurationError, "normalisation q99"),
        ({"mask": [True]}, ConfigurationError, "normalisation mask"),
        ({"epsilon": "small"}, ConfigurationError, "setting epsilon of normalisation"),
        ({"mean": 0.0}, UnknownNameError, "setting of normalisation"),
    ],
)
def test_files_with_mistakes(change, error, message):
    with pytest.raises(error, match=message):
        QuantileNormalizer.from_dict({**normalizer().to_dict(), **change})


def test_statistics_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        normalizer().q01[0] = 1.0
