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


def test_an_arm_that_never_moves_is_not_blown_up():
    actions = np.full((100, 30), 0.7) + np.random.default_rng(0).normal(scale=1e-5, size=(100, 30))
    made = QuantileNormalizer.fit(actions, MASK, min_range=0.1)
    np.testing.assert_allclose((made.q99 - made.q01)[MASK], 0.1)
    assert np.abs(made.normalize(actions)).max() < 1e-3
    np.testing.assert_allclose(made.denormalize(np.zeros(30))[MASK], 0.7, atol=1e-4)


def test_fit_refuses_what_it_cannot_use():
    with pytest.raises(InputError, match=r"actions to fit.*none"):
        QuantileNormalizer.fit(np.zeros((0, 30)), MASK)
    with pytest.raises(InputError, match="nan at step 1 of 'left_qx'"):
        QuantileNormalizer.fit(np.where(np.arange(60).reshape(2, 30) == 33, np.nan, 0.0), MASK)
    with pytest.raises(ConfigurationError, match="min_range"):
        QuantileNormalizer.fit(np.zeros((3, 30)), MASK, min_range=0.0)


def test_other_widths_are_refused():
    for apply in (normalizer().normalize, normalizer().denormalize):
        with pytest.raises(InputError, match=r"actions to normalise; got: \[2, 29\]"):
            apply(np.zeros((2, 29)))


def test_impossible_ranges_name_the_channel():
    q99 = normalizer().q99.copy()
    q99[4] = -5.0
    with pytest.raises(ConfigurationError, match="range of left_qy; got: q99 not above q01"):
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
