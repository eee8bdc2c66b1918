"""What the control loop asks of a robot."""

from typing import Protocol, runtime_checkable

import numpy as np

from foreact.types import Observation


@runtime_checkable
class Robot(Protocol):
    """A robot, real or simulated, that takes one action per control step."""

    @property
    def done(self) -> bool:
        """True once the episode is over."""
        ...

    def observe(self) -> Observation:
        """Take a picture with every camera and read the joints."""
        ...

    def act(self, action: np.ndarray) -> None:
        """Execute one action, float32 [num_dofs], and let one control step pass."""
        ...
