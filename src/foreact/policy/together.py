"""Rollouts that pass through the network as one batch, each with its own history, instruction and frame number."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from foreact.transformer.attention import CachedAttention
from foreact.transformer.block import stack_text
from foreact.transformer.model import TextContext, WorldActionModel
from foreact.transformer.positions import RotaryTable, stack_tables
from foreact.transformer.tokens import StreamInput

if TYPE_CHECKING:
    from foreact.policy.predictor import Rollout

Kind = Literal["video", "action"]


class Together:
    """What one chunk of several rollouts has in common in every pass; all that is per rollout is in their order.

    A batch's rows are the first rollout's (conditional, then unconditional if it runs), then the second's, and so on.
    """

    def __init__(self, rollouts: Sequence["Rollout"], model: WorldActionModel, num_frames: int):
        """Prepare a chunk.

        Args:
            rollouts: One or more, of one predictor.
            model: Its network.
            num_frames: Latent frames that pass, the same for all.
        """
        self.rollouts, self._model, self._num_frames = list(rollouts), model, num_frames
        self._texts: dict[int, TextContext] = {}
        self._tables: dict[tuple[Kind, int], RotaryTable] = {}
        self.has_heads = any(rollout.head is not None for rollout in rollouts)

    @cached_property
    def attention(self) -> CachedAttention:
        """Every row over its own rollout's cache."""
        return CachedAttention(*(rollout.cache for rollout in self.rollouts))

    def run(self, kind: Kind, values: Tensor, flow_time: float, *, rows: int) -> Tensor:
        """Return the velocities of one stream's chunk in float32, [rollouts, rows, frames, tokens, features].

        Args:
            kind: Which stream.
            values: [rollouts, frames, tokens, features], where the known frames are as they are known.
            flow_time: Of all frames that are not known.
            rows: 1 runs the conditional rows alone.
        """
        given = self.stream_input(kind, values, self._times(flow_time), rows)
        streams = (given, None) if kind == "video" else (None, given)
        velocity = self._model(*streams, self.text(rows), self.attention)[0 if kind == "video" else 1]
        return velocity.float().unflatten(0, (len(self.rollouts), rows))

    def stream_input(self, kind: Kind, values: Tensor, flow_time: Tensor, rows: int) -> StreamInput:
        """Return values [rollouts, ...] and flow times [rollouts, frames or 1] for `rows` rows of each rollout."""
        weight = next(self._model.parameters())
        return StreamInput(
            values=values.to(weight.dtype).repeat_interleave(rows, dim=0),
            flow_time=flow_time.repeat_interleave(rows, dim=0).to(weight.device),
            rotary=self.rotary(kind, rows),
        )

    def text(self, rows: int) -> TextContext:
        """Return the instructions of `rows` rows of each rollout."""
        if rows not in self._texts:
            contexts = [rollout.conditional if rows == 1 else rollout.text for rollout in self.rollouts]
            video, action = (
                [stack_text(list(layer)) for layer in zip(*streams, strict=True)]
                for streams in zip(*((context.video, context.action) for context in contexts), strict=True)
            )
            self._texts[rows] = TextContext(video, action)
        return self._texts[rows]

    def rotary(self, kind: Kind, rows: int) -> RotaryTable:
        """Return the positions of the chunk's tokens: the same in every step."""
        if (kind, rows) not in self._tables:
            table = self._model.video_rotary if kind == "video" else self._model.action_rotary
            device = next(self._model.parameters()).device
            numbers = [rollout.next_frame + torch.arange(self._num_frames) for rollout in self.rollouts]
            self._tables[kind, rows] = stack_tables([table(frames, device) for frames in numbers], rows)
        return self._tables[kind, rows]

    def hold(self, kind: Kind, point: Tensor) -> Tensor:
        """Return the chunk with the frames at its head as they are known to be."""
        if not self.has_heads:
            return point
        held = point.clone()
        for row, rollout in enumerate(self.rollouts):
            if rollout.head is not None:
                known = rollout.head.video if kind == "video" else rollout.head.action
                held[row, : known.shape[1]] = known[0]
        return held

    def _times(self, flow_time: float) -> Tensor:
        """Return the flow time of each frame, or of all where they are the same."""
        times = torch.full((len(self.rollouts), self._num_frames if self.has_heads else 1), flow_time)
        for row, rollout in enumerate(self.rollouts):
            times[row, : rollout.num_frames_at_head] = 1.0
        return times
