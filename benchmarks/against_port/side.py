"""What the two programs have in common in the eyes of the benchmark."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Clock = Callable[[], float]
"""Seconds since some moment."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One chunk predicted and its observation appended."""

    latents: Tensor
    """[1, channels, frames, height, width], known frames included."""
    actions: Tensor
    """[1, channels, frames, actions, 1], known frames included."""
    video_ms: float
    """All video passes."""
    action_ms: float
    """All action passes."""
    append_ms: float
    """Taking in what was observed while the chunk was executed."""
    video_passes: int
    action_passes: int

    def chunk_ms(self, video_passes: int, action_passes: int) -> float:
        """Return the time of a chunk of so many passes, from the mean time of a pass of each kind."""
        video, action = self.video_ms / self.video_passes, self.action_ms / self.action_passes
        return self.append_ms + video_passes * video + action_passes * action


class Side(Protocol):
    """A program that predicts a chunk and takes in what came of it."""

    def observe(self, num_chunks: int) -> None:
        """Start anew and take in so many chunks of history."""
        ...

    def turn(self, video_steps: int, action_steps: int) -> Turn:
        """Predict a chunk, append its observation, then undo both: the next turn finds the same history."""
        ...

    def passes(self, video_steps: int, action_steps: int) -> tuple[int, int]:
        """Return the passes of each kind that a schedule takes here."""
        ...
