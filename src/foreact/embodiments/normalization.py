"""Universal actions to and from [-1, 1], per channel, by quantiles of a dataset."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from foreact.embodiments.actions import CHANNEL_NAMES, KINDS, NUM_CHANNELS, check_finite
from foreact.errors import ConfigurationError, InputError
from foreact.settings import from_plain

FURTHEST = 3.0
"""Nothing recorded is further from 0 than this in model units, glitches apart."""
GLITCH = 100.0
"""Half ranges from the middle beyond which a number is taken for a glitch, and no range is widened for it."""
KIND_SHARE = 0.01
"""Least range of a channel, as a share of the widest one of its kind."""
CONSTANT_SHARE = 1e-6
"""Range below which a channel counts as constant, as a share of the widest one of its kind: rounding, not motion."""


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantileNormalizer:
    """`(a - q01) / (q99 - q01 + epsilon) * 2 - 1` per channel.

    Never clipped: outliers leave [-1, 1] and come back exactly. A channel whose range is 0 is a constant: 0 to the
    model, and whatever the model says of it comes back as that constant.
    """

    q01: Float[np.ndarray, "30"]
    """What becomes -1 per channel: the 1 % quantile, universal units."""
    q99: Float[np.ndarray, "30"]
    """What becomes 1 per channel (with epsilon 0): the 99 % quantile, universal units."""
    mask: Bool[np.ndarray, "30"]
    """Which channels are in use; the others are 0 on both sides."""
    epsilon: float = 0.0
    """Added to the range. Published checkpoints use 1e-6."""

    def __post_init__(self) -> None:
        for name in ("q01", "q99", "mask"):
            object.__setattr__(self, name, _as_channels(name, getattr(self, name)))
        if not (np.isfinite(self.epsilon) and self.epsilon >= 0):
            raise ConfigurationError("normalisation epsilon", got=self.epsilon, allowed="0 or more")
        if empty := [CHANNEL_NAMES[n] for n in np.nonzero(self.mask & (self._range < 0))[0]]:
            raise ConfigurationError(
                "normalisation range of " + ", ".join(empty),
                got="q99 below q01",
                allowed="q99 above q01, or equal for a constant",
            )

    @classmethod
    def fit(cls, actions: np.ndarray, mask: np.ndarray, *, epsilon: float = 0.0) -> "QuantileNormalizer":
        """The 1 % and 99 % quantiles of a dataset's actions, widened where they say too little.

        A range is widened about its middle until nothing that was recorded is further out than `FURTHEST`: a wrist that
        turns in one step of two hundred has both quantiles at rest. Single glitches, `GLITCH` times as far out, are
        passed over. It is at least `KIND_SHARE` of the widest range of its kind (positions, rotations, joints,
        grippers), so that the noise of an arm that hardly moves is not blown up, and no absolute width is assumed:
        increments of a millimetre are as good as targets of a metre. A channel that never changes is a constant.

        Args:
            actions: [num_actions, 30], universal units.
            mask: [30], which channels are in use.
            epsilon: As the field.

        Raises:
            InputError: No actions, a wrong shape, or not finite.
        """
        values = check_finite("actions to fit a normalisation to", actions, CHANNEL_NAMES)
        if not len(values):
            raise InputError("actions to fit a normalisation to", got="none", allowed="one or more")
        used = np.asarray(mask, dtype=bool)
        q01, q99 = np.quantile(values, [0.01, 0.99], axis=0)
        middle, half = (q01 + q99) / 2, (q99 - q01) / 2
        distance = np.abs(values - middle)
        counts = (half == 0) | (distance <= GLITCH * half)
        furthest = np.where(counts, distance, 0).max(axis=0)
        half = np.maximum(half, furthest / FURTHEST)
        for kind in KINDS:
            here = kind[used[kind]]
            widest = half[here].max(initial=0.0)
            moves = half[here] > CONSTANT_SHARE * widest
            half[here] = np.where(moves, np.maximum(half[here], KIND_SHARE * widest), 0)
        return cls(
            q01=np.where(used, middle - half, -1.0),
            q99=np.where(used, middle + half, 1.0),
            mask=used,
            epsilon=epsilon,
        )

    @property
    def _range(self) -> np.ndarray:
        return self.q99 - self.q01 + self.epsilon

    def normalize(self, actions: np.ndarray) -> Float[np.ndarray, "*leading 30"]:
        """Model units, float64, from universal units [..., 30]; unused channels 0."""

        def formula(used: np.ndarray, low: np.ndarray, width: np.ndarray) -> np.ndarray:
            scaled = (used - low) / np.where(width == 0, 1.0, width) * 2.0 - 1.0
            return np.where(width == 0, 0.0, scaled)

        return self._apply(actions, formula)

    def denormalize(self, actions: np.ndarray) -> Float[np.ndarray, "*leading 30"]:
        """Universal units, float64, from model units [..., 30]; unused channels 0."""
        return self._apply(actions, lambda used, low, width: (used + 1.0) / 2.0 * width + low)

    def _apply(self, actions: np.ndarray, formula: Callable[..., np.ndarray]) -> np.ndarray:
        values = np.asarray(actions, dtype=np.float64)
        if values.ndim < 1 or values.shape[-1] != NUM_CHANNELS:
            raise InputError("actions to normalise", got=list(values.shape), allowed=f"[..., {NUM_CHANNELS}]")
        result = np.zeros_like(values)
        used = self.mask
        result[..., used] = formula(values[..., used], self.q01[used], self._range[used])
        return result

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        arrays = {name: getattr(self, name).tolist() for name in ("q01", "q99", "mask")}
        return {**arrays, "epsilon": self.epsilon}

    @classmethod
    def from_dict(cls, data: Any) -> "QuantileNormalizer":
        """The inverse of `to_dict`, to the last bit; unknown keys are errors."""
        builders = {name: partial(_as_channels, name) for name in ("q01", "q99", "mask")}
        return from_plain(cls, data, "normalisation", **builders)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QuantileNormalizer) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.q01.tobytes(), self.q99.tobytes(), self.mask.tobytes(), self.epsilon))


def _as_channels(name: str, values: Any) -> np.ndarray:
    error = ConfigurationError(
        f"normalisation {name}", got=values, allowed=f"{NUM_CHANNELS} finite numbers, one per channel"
    )
    try:
        array = np.array(values, dtype=bool if name == "mask" else np.float64)
    except (TypeError, ValueError):
        raise error from None
    if array.shape != (NUM_CHANNELS,) or not np.isfinite(array).all():
        raise error
    array.flags.writeable = False
    return array
