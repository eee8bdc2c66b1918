"""One gripper: which entry of the action vector it is and what its values mean."""

from dataclasses import dataclass

import numpy as np

from foreact.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class Gripper:
    """A gripper's entry and what its values mean."""

    entry: int
    """Index in the action vector."""
    open: float
    """The action that means fully open."""
    closed: float
    """The action that means fully closed."""
    state_entry: int | None = None
    """Index in the state vector; None: the same as `entry`."""
    state_open: float | None = None
    """The state when fully open; None: the same as `open`."""
    state_closed: float | None = None
    """The state when fully closed; None: the same as `closed`."""

    def __post_init__(self) -> None:
        for opened, closed in ((self.open, self.closed), self._state_range):
            if not np.isfinite([opened, closed]).all() or opened == closed:
                got = f"open {opened}, closed {closed}"
                raise ConfigurationError("gripper convention", got=got, allowed="two different numbers")

    @property
    def state_index(self) -> int:
        """Index in the state vector."""
        return self.entry if self.state_entry is None else self.state_entry

    @property
    def _state_range(self) -> tuple[float, float]:
        opened = self.open if self.state_open is None else self.state_open
        return opened, self.closed if self.state_closed is None else self.state_closed

    def opening(self, actions: np.ndarray) -> np.ndarray:
        """1 open, 0 closed [time], from actions [time, entries]; not clipped."""
        return (actions[:, self.entry] - self.closed) / (self.open - self.closed)

    def action(self, opening: np.ndarray) -> np.ndarray:
        """The inverse of `opening`: the values of `entry` [time]."""
        return self.closed + opening * (self.open - self.closed)

    def hold(self, state: np.ndarray) -> float:
        """The action for the opening that the state vector tells, between closed and open."""
        opened, closed = self._state_range
        opening = np.clip((state[self.state_index] - closed) / (opened - closed), 0.0, 1.0)
        return float(self.closed + opening * (self.open - self.closed))
