"""The one chain between a robot's actions and the model's: embodiment, then normalisation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from foreact.embodiments.actions import CHANNEL_NAMES
from foreact.embodiments.embodiment import Embodiment
from foreact.embodiments.normalization import QuantileNormalizer
from foreact.errors import ConfigurationError
from foreact.settings import from_plain


@dataclass(frozen=True, kw_only=True)
class ActionCodec:
    """Robot actions to model actions and back; float64 inside, float32 at both ends."""

    embodiment: Embodiment
    """The robot."""
    normalizer: QuantileNormalizer
    """Fitted to this robot's actions in universal units."""

    def __post_init__(self) -> None:
        differing = np.nonzero(self.embodiment.channel_mask != self.normalizer.mask)[0]
        if len(differing):
            raise ConfigurationError(
                f"normalisation for {self.embodiment.name!r}",
                got="other channels: " + ", ".join(CHANNEL_NAMES[n] for n in differing),
                allowed="the channels of the embodiment",
                cure="fit the normalisation with embodiment.channel_mask",
            )

    @classmethod
    def fit(cls, embodiment: Embodiment, universal_actions: np.ndarray) -> "ActionCodec":
        """The codec normalised to a dataset's actions in universal units [num_actions, 30]."""
        mask = embodiment.channel_mask
        normalizer = QuantileNormalizer.fit(universal_actions, mask)
        return cls(embodiment=embodiment, normalizer=normalizer)

    @property
    def mask(self) -> Bool[np.ndarray, "30"]:
        """Which channels the robot has (read-only)."""
        return self.embodiment.channel_mask

    def encode(self, actions: np.ndarray, initial_pose: np.ndarray | None = None) -> Float[np.ndarray, "time 30"]:
        """Model units, float32, unused channels 0, from the robot's actions [time, num_dofs].

        Raises:
            InputError: As `Embodiment.to_universal`.
        """
        universal = self.embodiment.to_universal(actions, initial_pose)
        return self.normalizer.normalize(universal).astype(np.float32)

    def decode(
        self, model_actions: np.ndarray, initial_pose: np.ndarray | None = None
    ) -> Float[np.ndarray, "time dofs"]:
        """The robot's actions, float32, from model units [time, 30]; not clipped to the robot's limits.

        Raises:
            InputError: As `Embodiment.from_universal`.
        """
        universal = self.normalizer.denormalize(model_actions)
        return self.embodiment.from_universal(universal, initial_pose).astype(np.float32)

    def odd_entries(self, state: np.ndarray) -> list[str]:
        """What in a state is far from anything that this robot does, in words: degrees for radians, another order.

        Joints and grippers are compared with the robot's limits, or where it has none with what was trained on.

        Args:
            state: [num_state_entries], the robot's own units.
        """
        robot = self.embodiment
        names, odd = robot.state_names or robot.dof_names, []
        for entry, low, high in self._usual_ranges():
            value, width = float(state[entry]), high - low
            if not low - width <= value <= high + width:
                odd.append(f"{names[entry]} is {value:.4g}, and it moves between {low:.4g} and {high:.4g}")
        return odd

    def _usual_ranges(self) -> list[tuple[int, float, float]]:
        """Index in the state, least and greatest value of what can be compared."""
        robot, ranges = self.embodiment, []
        low, high = robot.limits
        for arm in robot.arms:
            joints = list(arm.entries) if arm.space == "joint" and arm.representation == "absolute" else []
            channels = range(arm.channels.start, arm.channels.start + len(joints))
            for entry, channel in zip(joints, channels, strict=True):
                limits = low[entry], high[entry]
                if not np.isfinite(limits).all():
                    limits = np.array([self.normalizer.q01[channel], self.normalizer.q99[channel]])
                    limits = limits / arm.rotation_unit_rad
                if limits[1] > limits[0]:
                    ranges.append((entry, float(limits[0]), float(limits[1])))
        return ranges

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"embodiment": self.embodiment.to_dict(), "normalizer": self.normalizer.to_dict()}

    @classmethod
    def from_dict(cls, data: Any) -> "ActionCodec":
        """The inverse of `to_dict`; unknown keys are errors."""
        builders = dict(embodiment=Embodiment.from_dict, normalizer=QuantileNormalizer.from_dict)
        return from_plain(cls, data, "action codec", **builders)
