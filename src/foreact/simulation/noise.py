"""Disturbance of what is executed, correlated in time, from which demonstrations show the way back."""

import numpy as np

from foreact.errors import ConfigurationError
from foreact.simulation import scene

JOINT_SCALES = np.array([1.0, 0.7, 0.7, 1.5, 1.5, 2.0])
"""Waist to wrist: joints near the hand move it less and take more."""


class CorrelatedNoise:
    """An Ornstein-Uhlenbeck process on twelve joint angles; grippers are left alone."""

    def __init__(self, rng: np.random.Generator, scale_rad: float = 0.02, correlation_s: float = 0.4):
        """Start from rest, without disturbance.

        Args:
            rng: Where the numbers come from.
            scale_rad: Standard deviation in the long run, of the waist at full slack.
            correlation_s: Time after which the disturbance has forgotten 63 % of itself.

        Raises:
            ConfigurationError: A negative scale, or a correlation time that is not positive.
        """
        if scale_rad < 0:
            raise ConfigurationError("scale_rad", got=scale_rad, allowed="0 or more")
        if correlation_s <= 0:
            raise ConfigurationError("correlation_s", got=correlation_s, allowed="more than 0")
        self._rng, self._scale_rad = rng, scale_rad
        self._keep = float(np.exp(-1 / (correlation_s * scene.CONTROL_HZ)))
        self._state = np.zeros((2, 6))

    def sample(self, slack: np.ndarray) -> np.ndarray:
        """float32 [14] to add to the coming action.

        Args:
            slack: [2], left and right arm, in [0, 1]: the share of the disturbance each arm gets.
        """
        fresh = np.sqrt(1 - self._keep**2) * self._rng.standard_normal((2, 6))
        self._state = self._keep * self._state + fresh
        joints = self._scale_rad * JOINT_SCALES * self._state * np.asarray(slack)[:, None]
        return np.concatenate([joints, np.zeros((2, 1))], axis=1).ravel().astype(np.float32)
