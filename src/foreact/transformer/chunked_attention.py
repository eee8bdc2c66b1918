"""Joint attention of training on a CPU, as rectangles without a mask: as few of them as possible, as large as possible.

All queries of a chunk see the same history, and little of their own chunk besides. So the queries of both streams and
both copies attend to the history in one call for each chunk, on a slice of the keys. What a kind of token sees of its
own chunk takes one call for all chunks together. The softmax over both parts follows exactly from the two outputs and
their log-sum-exps (`lse`):

    out = w * out_history + (1 - w) * out_own,    w = sigmoid(lse_history - lse_own)

In the backward pass each part by itself gives its share of the gradients, if it is handed the joint `out` and `lse`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from foreact.transformer.masks import ChunkLayout


class Kind(NamedTuple):
    """One copy of one stream: all its tokens see alike within a chunk."""

    action: bool
    clean: bool


NOISY_VIDEO, CLEAN_VIDEO = Kind(action=False, clean=False), Kind(action=False, clean=True)
NOISY_ACTION, CLEAN_ACTION = Kind(action=True, clean=False), Kind(action=True, clean=True)


def seen_in_own_chunk(layout: ChunkLayout) -> dict[Kind, tuple[Kind, ...]]:
    """Return which kinds of tokens of its own chunk each kind of query sees; the rule is `masks.sees`."""
    clean = {CLEAN_VIDEO: (CLEAN_VIDEO,), CLEAN_ACTION: (CLEAN_VIDEO, CLEAN_ACTION)}
    if layout.forward_dynamics:
        return clean | {NOISY_VIDEO: (NOISY_ACTION, NOISY_VIDEO), NOISY_ACTION: (NOISY_ACTION,)}
    if layout.imagines:
        return clean | {NOISY_VIDEO: (NOISY_VIDEO,), NOISY_ACTION: (CLEAN_VIDEO, NOISY_ACTION)}
    return clean | {NOISY_ACTION: (NOISY_ACTION,)}


class Chunks(NamedTuple):
    """Successive chunks of one length, in latent frames."""

    start: int
    stop: int
    length: int


def equal_chunks(layout: ChunkLayout) -> Iterator[Chunks]:
    """Yield the first observed frame, then the whole chunks, then a shorter last one if there is one."""
    yield Chunks(0, 1, 1)
    rest = (layout.num_frames - 1) % layout.frames_per_chunk
    if layout.num_frames - rest > 1:
        yield Chunks(1, layout.num_frames - rest, layout.frames_per_chunk)
    if rest:
        yield Chunks(layout.num_frames - rest, layout.num_frames, rest)


class Packed:
    """Queries, keys, gradients or the like of both packed streams, to be had by kind.

    Args:
        layout: How the sequence is cut.
        video: [batch, frames, tokens, heads, ...], the noisy copy before the clean one. The clean copy may be absent.
        action: Likewise.
    """

    def __init__(self, layout: ChunkLayout, video: Tensor, action: Tensor):
        noisy = layout.num_frames - 1
        self._tensors, self._num_noisy = (video, action), (noisy if layout.imagines else 0, noisy)

    def __contains__(self, kind: Kind) -> bool:
        num_noisy = self._num_noisy[kind.action]
        return self._tensors[kind.action].shape[1] > num_noisy if kind.clean else num_noisy > 0

    def frames(self, kind: Kind, start: int, stop: int) -> Tensor:
        """Return a view of some latent frames of one kind; the noisy copy has no frame 0."""
        offset = self._num_noisy[kind.action] if kind.clean else -1
        return self._tensors[kind.action][:, offset + start : offset + stop]

    def chunks(self, kind: Kind, where: Chunks) -> Tensor:
        """Return a view of one kind, [batch, chunks, frames of a chunk, tokens, heads, ...]."""
        return self.frames(kind, where.start, where.stop).unflatten(1, (-1, where.length))

    def rows(self, kinds: Sequence[Kind], where: Chunks) -> Tensor:
        """Return several kinds, every chunk a row of its own: [batch * chunks, tokens of all, heads, ...]."""
        parts = [self.chunks(kind, where).flatten(2, 3) for kind in kinds]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)).flatten(0, 1)

    def add_rows(self, added: Tensor, kinds: Sequence[Kind], where: Chunks) -> None:
        """Add to several kinds what is arranged as `rows` gives them."""
        first = 0
        for kind in kinds:
            place = self.chunks(kind, where)
            num_tokens = place.shape[2] * place.shape[3]
            place += added[:, first : (first := first + num_tokens)].reshape(place.shape)

    def side_by_side(self, kinds: Sequence[Kind], start: int, stop: int) -> Tensor:
        """Return several kinds, latent frame by latent frame: [batch, frames * tokens of all, heads, ...]."""
        return torch.cat([self.frames(kind, start, stop) for kind in kinds], dim=2).flatten(1, 2)

    def add_side_by_side(self, added: Tensor, kinds: Sequence[Kind], start: int, stop: int) -> None:
        """Add to several kinds what is arranged as `side_by_side` gives them."""
        by_frame, first = added.unflatten(1, (stop - start, -1)), 0
        for kind in kinds:
            place = self.frames(kind, start, stop)
            place += by_frame[:, :, first : (first := first + place.shape[2])]


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return (output, log-sum-exp), [rows, tokens, heads, ...] like what is given."""
    heads_second = (x.transpose(1, 2) for x in (queries, keys, values))
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*heads_second)
    return out.transpose(1, 2), lse.transpose(1, 2)


def _gradients(grad: Tensor, out: Tensor, lse: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> list[Tensor]:
    """Return what these keys add to the gradients of (queries, keys, values); `out` and `lse` are of all keys seen."""
    given = (x.transpose(1, 2) for x in (grad, queries, keys, values, out, lse))
    made = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(*given, 0.0, False)
    return [x.transpose(1, 2) for x in made]


class _Pass:
    """What both directions share: the tensors by kind, and which keys of its own chunk each kind of query sees."""

    def __init__(self, layout: ChunkLayout, streams: tuple[Tensor, ...]):
        self.layout = layout
        self.queries, self.keys, self.values = (Packed(layout, streams[i], streams[i + 3]) for i in range(3))
        self.seen = {kind: seen for kind, seen in seen_in_own_chunk(layout).items() if kind in self.queries}
        self.asking = list(self.seen)

    def own_chunks(self) -> Iterator[tuple[Chunks, Kind, tuple[Kind, ...], tuple[Tensor, Tensor]]]:
        """Yield (chunks, kind of query, kinds that it sees in them, their keys and values [rows, tokens, ...])."""
        for where in equal_chunks(self.layout):
            for kind, seen in self.seen.items():
                if where.start > 0 or kind.clean:
                    yield where, kind, seen, (self.keys.rows(seen, where), self.values.rows(seen, where))

    def history(self) -> tuple[Tensor, Tensor]:
        """Return what can be history, [batch, frames * tokens of both streams, heads, head_dim]: keys and values."""
        kinds, num_frames = (CLEAN_VIDEO, CLEAN_ACTION), self.layout.num_frames
        return self.keys.side_by_side(kinds, 0, num_frames), self.values.side_by_side(kinds, 0, num_frames)


class ChunkedSoftmax(torch.autograd.Function):
    """`apply(layout, video queries, keys, values, action queries, keys, values)` gives both streams' attended values.

    All are [batch, frames, tokens, heads, head_dim]. Queries may be of the noisy copy alone; so are the outputs then.
    What several rectangles add to is kept in float32 until it is complete.
    """

    @staticmethod
    def forward(ctx: Any, layout: ChunkLayout, *streams: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        given = _Pass(layout, streams)
        made = [x.new_empty(x.shape, dtype=torch.float32) for x in (streams[0], streams[3])]
        lse = [x.new_empty(x.shape[:-1]) for x in made]
        outs, lses = Packed(layout, *made), Packed(layout, *lse)
        for where, kind, _, pair in given.own_chunks():
            own = _attend(given.queries.rows((kind,), where), *pair)
            for target, new in zip((outs, lses), own, strict=True):
                place = target.chunks(kind, where)
                place.copy_(new.reshape(place.shape))
        _merge_history(given, outs, lses)
        made = [x.to(streams[0].dtype) for x in made]
        ctx.save_for_backward(*streams, *made, *lse)
        ctx.layout = layout
        return made[0], made[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """See the class."""
        layout, saved = ctx.layout, ctx.saved_tensors
        streams, saved = saved[:6], saved[6:]
        given = _Pass(layout, streams)
        asked = [Packed(layout, *pair) for pair in (grads, saved[:2], saved[2:])] + [given.queries]
        made = [x.new_zeros(x.shape, dtype=torch.float32) for x in streams]
        targets = [Packed(layout, made[i], made[i + 3]) for i in range(3)]
        _history_gradients(given, asked, targets)
        for where, kind, seen, pair in given.own_chunks():
            new = _gradients(*(x.rows((kind,), where) for x in asked), keys=pair[0], values=pair[1])
            for target, gradient, kinds in zip(targets, new, ((kind,), seen, seen), strict=True):
                target.add_rows(gradient, kinds, where)
        return None, *(x.to(streams[0].dtype) for x in made)


def _merge_history(given: _Pass, outs: Packed, lses: Packed) -> None:
    """Bring in what queries see of their history; `outs` and `lses` hold so far what they see of their own chunks."""
    layout, (keys, values) = given.layout, given.history()
    queries = given.queries.side_by_side(given.asking, 1, layout.num_frames)
    per_frame, past_per_frame = queries.shape[1] // (layout.num_frames - 1), keys.shape[1] // layout.num_frames
    parts = []
    for start, stop in layout.chunks[1:]:
        now = slice((start - 1) * per_frame, (stop - 1) * per_frame)
        past = slice(layout.history_start(start) * past_per_frame, start * past_per_frame)
        parts.append(_attend(queries[:, now], keys[:, past], values[:, past]))
    out, lse = (torch.cat(column, dim=1).unflatten(1, (-1, per_frame)) for column in zip(*parts, strict=True))
    first = 0
    for kind in given.asking:
        own, own_lse = (x.frames(kind, 1, layout.num_frames) for x in (outs, lses))
        of_kind = slice(first, first := first + own.shape[2])
        own.lerp_(out[:, :, of_kind].float(), torch.sigmoid(lse[:, :, of_kind] - own_lse).unsqueeze(-1))
        own_lse.copy_(torch.logaddexp(own_lse, lse[:, :, of_kind]))


def _history_gradients(given: _Pass, asked: list[Packed], targets: list[Packed]) -> None:
    """Write to `targets` the gradients of queries, keys and values that come through histories."""
    layout, pair = given.layout, given.history()
    asked_of = [x.side_by_side(given.asking, 1, layout.num_frames) for x in asked]
    per_frame, past_per_frame = asked_of[0].shape[1] // (layout.num_frames - 1), pair[0].shape[1] // layout.num_frames
    of_queries, of_pair = [], [torch.zeros_like(x, dtype=torch.float32) for x in pair]
    for start, stop in layout.chunks[1:]:
        now = slice((start - 1) * per_frame, (stop - 1) * per_frame)
        past = slice(layout.history_start(start) * past_per_frame, start * past_per_frame)
        made, *added = _gradients(*(x[:, now] for x in asked_of), *(x[:, past] for x in pair))
        of_queries.append(made)
        for target, gradient in zip(of_pair, added, strict=True):
            target[:, past] += gradient
    targets[0].add_side_by_side(torch.cat(of_queries, dim=1), given.asking, 1, layout.num_frames)
    for target, gradient in zip(targets[1:], of_pair, strict=True):
        target.add_side_by_side(gradient, (CLEAN_VIDEO, CLEAN_ACTION), 0, layout.num_frames)
