"""Rollouts that pass through the network as one batch, each with its own history, instruction and frame number."""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from foreact.policy.rollout import Rollout
from foreact.transformer.attention import CachedAttention
from foreact.transformer.block import stack_text
from foreact.transformer.model import TextContext, WorldActionModel
from foreact.transformer.positions import RotaryTable, stack_tables
from foreact.transformer.tokens import StreamInput

Kind = Literal["video", "action"]
KINDS: tuple[Kind, Kind] = ("video", "action")


class Together:
    """What one chunk of several rollouts has in common in every pass; all that is per rollout is in their order.

    A batch's rows are the first rollout's (conditional, then unconditional if it runs), then the second's, and so on.
    """

    def __init__(
        self,
        rollouts: Sequence[Rollout],
        model: WorldActionModel,
        num_frames: int,
        *,
        prefixes: Sequence[Tensor | None] = (),
    ):
        """Prepare a chunk.

        Args:
            rollouts: One or more, of one predictor.
            model: Its network.
            num_frames: Latent frames that pass, the same for all.
            prefixes: For each rollout the chunk's first actions [actions, action_channels], if they are known. Of a
                token that several actions share all must be known: the rest is left to be decoded.
        """
        self.rollouts, self._model, self.num_frames = list(rollouts), model, num_frames
        self._texts: dict[int, TextContext] = {}
        self._tables: dict[tuple[Kind, int], RotaryTable] = {}
        self._given: dict[Kind, Tensor] = {}
        self._known: dict[Kind, list[Tensor | None]] = {
            kind: [None if r.head is None else getattr(r.head, kind)[0].flatten(0, 1) for r in self.rollouts]
            for kind in KINDS
        }
        per_token = model.config.actions_per_token
        for row, prefix in enumerate(prefixes):
            if prefix is not None and len(prefix) >= per_token:
                prefix = prefix[: len(prefix) // per_token * per_token]
                self._known["action"][row] = prefix.to(self._device, torch.float32)

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device

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
        velocity = self._pass(kind, values, flow_time, rows, None)[0 if kind == "video" else 1]
        assert velocity is not None  # that stream was given
        return velocity.float().unflatten(0, (len(self.rollouts), rows))

    def keep(self, kind: Kind, values: Tensor, flow_time: float, *, rows: int) -> None:
        """Leave one stream's keys and values in the caches, as `run` does; no velocity is computed."""
        self._pass(kind, values, flow_time, rows, (0, 0))

    def _pass(
        self, kind: Kind, values: Tensor, flow_time: float, rows: int, num_wanted: tuple[int, int] | None
    ) -> tuple[Tensor | None, Tensor | None]:
        given = self.stream_input(kind, values, self._times(kind, flow_time, values.shape[2]), rows)
        streams = (given, None) if kind == "video" else (None, given)
        return self._model(*streams, self.text(rows), self.attention, num_wanted=num_wanted)

    def stream_input(self, kind: Kind, values: Tensor, flow_time: Tensor, rows: int) -> StreamInput:
        """Return values [rollouts, ...] and flow times [rollouts, ...] for `rows` rows of each rollout."""
        weight = next(self._model.parameters())
        return StreamInput(
            values=values.to(weight.dtype).repeat_interleave(rows, dim=0),
            flow_time=flow_time.repeat_interleave(rows, dim=0),
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
            numbers = [rollout.next_frame + torch.arange(self.num_frames) for rollout in self.rollouts]
            self._tables[kind, rows] = stack_tables([table(frames, self._device) for frames in numbers], rows)
        return self._tables[kind, rows]

    def hold(self, kind: Kind, point: Tensor) -> Tensor:
        """Return the chunk with the tokens that it begins with as they are known to be."""
        if not self._holds(kind):
            return point
        held = point.clone()
        for row, known in enumerate(self._known[kind]):
            if known is not None:
                held[row].view(-1, held.shape[-1])[: len(known)] = known
        return held

    def _times(self, kind: Kind, flow_time: float, num_tokens: int) -> Tensor:
        """Return the flow time of each frame, of all where they are the same, of each token where a frame's differ."""
        if not self._holds(kind):
            return torch.full((len(self.rollouts), 1), flow_time, device=self._device)
        if kind not in self._given:  # the same in every step
            counts = [0 if known is None else len(known) for known in self._known[kind]]
            place = torch.arange(self.num_frames * num_tokens).unflatten(0, (self.num_frames, num_tokens))
            given = (place < torch.tensor(counts)[:, None, None]).to(self._device)
            self._given[kind] = given if any(count % num_tokens for count in counts) else given[..., 0]
        given = self._given[kind]
        return torch.full(given.shape, flow_time, device=self._device).masked_fill_(given, 1.0)

    def _holds(self, kind: Kind) -> bool:
        return any(known is not None for known in self._known[kind])
