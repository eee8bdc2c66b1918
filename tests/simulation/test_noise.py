"""The disturbance of what is executed."""

import numpy as np
import pytest

from foreact.errors import ConfigurationError
from foreact.simulation.noise import JOINT_SCALES, CorrelatedNoise

FULL = np.ones(2)


def series(num: int, slack=FULL, **settings) -> np.ndarray:
    noise = CorrelatedNoise(np.random.default_rng(0), **settings)
    return np.stack([noise.sample(slack) for _ in range(num)])


def test_has_the_scale_and_the_memory_it_was_given():
    samples = series(40_000, scale_rad=0.02, correlation_s=0.2)[100:, :6]
    assert np.allclose(samples.std(axis=0), 0.02 * JOINT_SCALES, rtol=0.1)
    waist = samples[:, 0]
    assert np.corrcoef(waist[:-10], waist[10:])[0, 1] == pytest.approx(np.exp(-1), abs=0.05)


def test_starts_small_so_that_it_grows_out_of_rest():
    assert np.abs(series(1)[0]).max() < 0.02


def test_leaves_grippers_and_resting_arms_alone():
    samples = series(50, slack=np.array([0.0, 1.0]))
    assert not samples[:, :7].any()
    assert not samples[:, 13].any()
    assert samples[:, 7:13].all()


def test_equal_generators_disturb_equally():
    assert np.array_equal(series(20), series(20))


@pytest.mark.parametrize("setting", [{"scale_rad": -0.1}, {"correlation_s": 0.0}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        CorrelatedNoise(np.random.default_rng(0), **setting)
