"""A controller that also notes where its policy looks, and the pictures on which that is drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np

from foreact.control.controller import Turn
from foreact.policy.attention import ActionAttention, action_attention
from foreact.policy.controllers import PolicyController
from foreact.policy.policy import Policy
from foreact.types import ActionChunk, Observation
from foreact.viewing.drawing import HeatTile

MOST_REMEMBERED = 4
"""Remembered frames that are shown: those looked at most."""


class WatchedController(PolicyController):
    """Decides as its parent does. While somebody watches, one extra pass a chunk finds where the policy looked."""

    def __init__(self, policy: Policy, instruction: str, *, is_watched: Callable[[], bool], **settings: Any):
        """Start a session.

        Args:
            policy: Decides.
            instruction: What to do, in words.
            is_watched: Asked after every chunk.
            settings: As `PolicyController`.
        """
        super().__init__(policy, instruction, **settings)
        self._is_watched = is_watched
        self.attention: ActionAttention | None = None
        """For the first action of the last chunk; None if nobody watched, or actions were under way."""

    def begin(self, observation: Observation) -> ActionChunk:
        """Return the first chunk."""
        chunk = super().begin(observation)
        self._look(under_way=0)
        return chunk

    def proceed(self, turn: Turn) -> ActionChunk:
        """Return the next chunk, or one without actions."""
        chunk = super().proceed(turn)
        self._look(under_way=len(turn.under_way) + len(turn.prefix))
        return chunk

    def _look(self, *, under_way: int) -> None:
        watched = self._is_watched() and not under_way and self.session.prediction is not None
        self.attention = action_attention(self.policy, self.session) if watched else None


def heat_tiles(
    policy: Policy,
    found: ActionAttention,
    *,
    picture: Callable[[int], np.ndarray | None],
    film: np.ndarray | None,
) -> list[HeatTile]:
    """Return what is to be drawn of an attention: the remembered frames looked at most, then all imagined ones.

    Args:
        policy: Whose.
        found: Where it looked.
        picture: Returns the first camera's picture of a number, 0 for the first one; None if there is none.
        film: What the same chunk imagines of that camera, uint8 [time, height, width, 3]; None: nothing.
    """
    timing, layout = policy.embodiment.timing, policy.embodiment.layout
    frame_s = timing.vae_factor / timing.camera_hz
    now, tiles = found.remembered_frames[-1], []
    shares = found.remembered.sum((1, 2)).numpy()
    most = sorted(np.argsort(shares)[-MOST_REMEMBERED:])
    for place in most:
        frame = found.remembered_frames[place]
        seen = picture(frame * timing.vae_factor)
        if seen is not None:
            label = "now" if frame == now else f"{(now - frame) * frame_s:.1f} s ago"
            tiles.append(HeatTile(seen, np.asarray(layout.split(found.remembered[place])[0]), label))
    for place in range(len(found.imagined)):
        if film is not None and (place + 1) * timing.vae_factor <= len(film):
            imagined = film[(place + 1) * timing.vae_factor - 1]
            heat = np.asarray(layout.split(found.imagined[place])[0])
            tiles.append(HeatTile(imagined, heat, f"in {(place + 1) * frame_s:.1f} s", is_imagined=True))
    return tiles
