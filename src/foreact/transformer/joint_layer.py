"""One layer of the network: the blocks of both streams, and the joint attention in which they meet."""

from typing import NamedTuple, cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from foreact.transformer.attention import JointAttention, Projected
from foreact.transformer.block import Modulation, StreamBlock, TextKeys
from foreact.transformer.positions import RotaryTable


class TextTokens(NamedTuple):
    """Embedded instructions at a stream's width, of which each layer makes its own keys and values."""

    tokens: Tensor
    """[batch, length, width]"""
    bias: Tensor
    """[batch, 1, 1, length], added to the scores: minus infinity hides padding."""


class LayerInput(NamedTuple):
    """What the tokens of one stream bring to every layer, as plain tensors."""

    time: Tensor
    """Time projection of each latent frame, or of each token, [batch, #frames, #tokens, 6, width]."""
    turns: Tensor
    """Rotary positions: see `RotaryTable`."""


class JointLayer(nn.Module):
    """Both streams' blocks of one layer, called with plain tensors and tuples of them alone.

    So hooks on its forward see all tensors that enter and leave it, whatever they do with them: gather sharded weights
    (`fully_shard`, with a layer as the unit), fetch offloaded ones, or compute the layer again in the backward pass.
    """

    def __init__(self, number: int, video: StreamBlock, action: StreamBlock | None):
        """Join two blocks.

        Args:
            number: Of the layer, counted from 0; names its part of a KV cache.
            video: Of the video stream.
            action: Of the action stream; None: actions run through the video stream's block.
        """
        super().__init__()
        self.number = number
        self.video = video
        self.action = action

    @property
    def blocks(self) -> tuple[StreamBlock, StreamBlock]:
        """Blocks of the video and of the action tokens: one and the same if they are shared."""
        return self.video, self.video if self.action is None else self.action

    def forward(
        self,
        video: Tensor | None,
        action: Tensor | None,
        inputs: tuple[LayerInput | None, LayerInput | None],
        texts: tuple[TextTokens | TextKeys, TextTokens | TextKeys],
        attention: JointAttention,
        num_queries: tuple[int | None, int | None] = (None, None),
        recompute: bool = False,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return both streams' tokens after this layer; None for an absent stream.

        Args:
            video: Video tokens [batch, frames, tokens, width].
            action: Action tokens.
            inputs: Of video and action tokens.
            texts: The instruction for either stream: its tokens, or keys and values that were computed beforehand.
            attention: Between the tokens of both streams.
            num_queries: Only the first so many latent frames of a stream are returned; of the others nothing is
                computed but what those see. None: all.
            recompute: Keep only what is given for the backward pass, and run the layer again in it.
        """
        given = (video, action, inputs, texts, attention, num_queries)
        if recompute:  # no layer draws random numbers: there is no state of them to restore
            return checkpoint(self._through, *given, use_reentrant=False, preserve_rng_state=False)
        return self._through(*given)

    def _through(
        self,
        video: Tensor | None,
        action: Tensor | None,
        inputs: tuple[LayerInput | None, LayerInput | None],
        texts: tuple[TextTokens | TextKeys, TextTokens | TextKeys],
        attention: JointAttention,
        num_queries: tuple[int | None, int | None],
    ) -> tuple[Tensor | None, Tensor | None]:
        tokens = (video, action)
        ways = [
            None if x is None or given is None else _enter(block, x, given, number)
            for block, x, given, number in zip(self.blocks, tokens, inputs, num_queries, strict=True)
        ]
        attended = attention(self.number, *(None if way is None else way[0] for way in ways))
        outs = [
            None if x is None or way is None or seen is None else _leave(block, x, seen, way[1], text)
            for block, x, seen, way, text in zip(self.blocks, tokens, attended, ways, texts, strict=True)
        ]
        return outs[0], outs[1]


def _enter(block: StreamBlock, x: Tensor, given: LayerInput, num_queries: int | None) -> tuple[Projected, Modulation]:
    """Return what of one stream enters joint attention, and the layer's modulation."""
    modulation = block.modulation(given.time)
    return block.project(x, modulation, RotaryTable(given.turns), num_queries), modulation


def _leave(
    block: StreamBlock, x: Tensor, attended: Tensor, modulation: Modulation, text: TextTokens | TextKeys
) -> Tensor:
    """Return the tokens of one stream after joint attention brought `attended` to their first frames."""
    num_queries = attended.shape[1]
    if num_queries == 0:
        return x[:, :0]
    if num_queries < x.shape[1]:
        x, modulation = x[:, :num_queries], modulation.first_frames(num_queries)
    if isinstance(text, TextTokens):
        text = block.text.text_keys(*text)
    return block.update(x, attended, modulation, cast("TextKeys", text))
