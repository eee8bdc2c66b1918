"""What the robot's side asks of whoever decides the actions, and what it tells them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from foreact.types import ActionChunk, Observation


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What happened since the last turn, and what will have happened before the next chunk begins.

    Turns are taken at the beginning of a latent frame. `executed` of all turns one after another is what the robot
    executed, without a gap; after it come `under_way` and then the new chunk, whose first actions are `prefix`.
    """

    images: Mapping[str, np.ndarray]
    """Camera name to uint8 [time, height, width, 3]: the frames since the last turn."""
    executed: np.ndarray
    """float32 [num_actions, num_dofs]: the commands really given since the last turn, after limits and blending."""
    under_way: np.ndarray
    """float32 [num_actions, num_dofs], whole latent frames: decided, executed before the new chunk begins."""
    prefix: np.ndarray
    """float32 [num_actions, num_dofs]: the new chunk's first actions, decided already, fewer than a
    latent frame's; none unless the controller inpaints. They are executed whatever the new chunk holds in their place,
    unless it holds no actions at all."""


@runtime_checkable
class Controller(Protocol):
    """Gives one chunk of actions after another; every call may take its time, and may come from another thread."""

    @property
    def waits(self) -> bool:
        """True if the robot stands still while the next chunk is computed: it is told everything, nothing under way."""
        ...

    @property
    def inpaints(self) -> bool:
        """True if it can continue a prefix of actions that are decided already."""
        ...

    def begin(self, observation: Observation) -> ActionChunk:
        """Return the first chunk; the robot stands still."""
        ...

    def proceed(self, turn: Turn) -> ActionChunk:
        """Return the next chunk, or one without actions to say "I must see first".

        The robot then executes what is under way, stands still, and takes another turn with nothing under way, which
        must be answered with actions.
        """
        ...
