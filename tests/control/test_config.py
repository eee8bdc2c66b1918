import pytest

from foreact.control.config import ControlConfig
from foreact.control.latency import DelaySettings
from foreact.control.limits import MotionLimits
from foreact.errors import ConfigurationError
from foreact.settings import from_plain, to_plain


def test_derived_values() -> None:
    config = ControlConfig()
    assert config.tick_s == 0.02 and config.actions_per_chunk == 64


@pytest.mark.parametrize(
    "wrong",
    [
        {"action_hz": 0.0},
        {"action_hz": float("nan")},
        {"camera_stride": 0},
        {"camera_stride": 3},
        {"actions_per_latent_frame": 0},
        {"latent_frames_per_chunk": 0},
        {"execution_horizon": 0},
        {"execution_horizon": 5},
        {"late": "hurry"},
        {"slow_factor": 0},
        {"slow_below": -1},
        {"watchdog_s": 0.0},
        {"blend_actions": -1},
        {"late_tick_ms": -0.1},
    ],
)
def test_settings_that_cannot_be(wrong) -> None:
    with pytest.raises((ConfigurationError, TypeError)) as raised:
        ControlConfig(**wrong)
    assert isinstance(raised.value, ConfigurationError) or "late" in wrong


def test_settings_survive_as_plain_data() -> None:
    limits = MotionLimits(low=(-1.0, -2.0), velocity=(float("inf"), 1.0))
    config = ControlConfig(limits=limits, delay=DelaySettings(initial_s=0.1), execution_horizon=2, late="slow")
    builders = {
        "limits": lambda data: from_plain(MotionLimits, data, "limits"),
        "delay": lambda data: from_plain(DelaySettings, data, "delay"),
    }
    assert from_plain(ControlConfig, to_plain(config), "control", **builders) == config
