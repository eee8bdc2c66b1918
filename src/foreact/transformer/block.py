"""One layer of one stream. Both streams use this class; only their widths differ."""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foreact.transformer.attention import Projected
from foreact.transformer.positions import RotaryTable, rotate

GELU_LINEAR = 2 * (2 / math.pi) ** 0.5
GELU_CUBIC = 0.044715


@dataclass(frozen=True)
class TextKeys:
    """Keys and values of an instruction in one layer of one stream: computed once per session, not per step."""

    keys: Float[Tensor, "batch heads length head_dim"]
    values: Float[Tensor, "batch heads length head_dim"]
    bias: Float[Tensor, "batch 1 1 length"]
    """Added to the scores: minus infinity hides padding."""


def stack_text(texts: list[TextKeys]) -> TextKeys:
    """Return several instructions' keys as one batch, the shorter ones padded with keys that are hidden."""
    if len(texts) == 1:
        return texts[0]
    length = max(text.keys.shape[2] for text in texts)
    padding = [length - text.keys.shape[2] for text in texts]
    keys, values = (
        torch.cat([F.pad(getattr(text, name), (0, 0, 0, more)) for text, more in zip(texts, padding, strict=True)])
        for name in ("keys", "values")
    )
    hidden = [F.pad(text.bias, (0, more), value=float("-inf")) for text, more in zip(texts, padding, strict=True)]
    return TextKeys(keys, values, torch.cat(hidden))


@dataclass(frozen=True)
class Modulation:
    """Shift, scale and gate of the two residual branches, per latent frame (per token only where tokens differ)."""

    attention: tuple[Tensor, Tensor, Tensor]
    feed_forward: tuple[Tensor, Tensor, Tensor]

    def first_frames(self, number: int) -> "Modulation":
        """Return the modulation of the first latent frames."""
        first = ([x[:, :number] for x in branch] for branch in (self.attention, self.feed_forward))
        return Modulation(*(cast("tuple[Tensor, Tensor, Tensor]", tuple(branch)) for branch in first))


class JointProjections(nn.Module):
    """Queries, keys and values at the joint width, and the way back.

    "direct": four matrices between the stream's width and the joint width, 4 * width * joint_width parameters.
    "factorized": four at the stream's own width, and one shared way up and one shared way down.
    """

    def __init__(self, width: int, joint_width: int, num_heads: int, kind: str, eps: float):
        super().__init__()
        inner = joint_width if kind == "direct" else width
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, inner)
        self.to_k = nn.Linear(width, inner)
        self.to_v = nn.Linear(width, inner)
        self.to_out = nn.Linear(inner, width)
        self.up = nn.Identity() if kind == "direct" else nn.Linear(width, joint_width, bias=False)
        self.down = nn.Identity() if kind == "direct" else nn.Linear(joint_width, width, bias=False)
        self.norm_q = nn.RMSNorm(joint_width, eps)
        self.norm_k = nn.RMSNorm(joint_width, eps)

    def project(
        self, x: Float[Tensor, "batch frames tokens width"], rotary: RotaryTable, num_queries: int | None = None
    ) -> Projected:
        """Return queries, keys and values; q and k are normalised over the full width, before the heads split.

        Queries are of the first `num_queries` latent frames, or of all.
        """
        keys = self.norm_k(self.up(self.to_k(x)))
        values = self.up(self.to_v(x))
        heads = (self.num_heads, -1)
        keys = rotate(keys.unflatten(-1, heads), rotary)
        if num_queries == 0:
            queries = keys[:, :0]
        else:
            queries = self.norm_q(self.up(self.to_q(x[:, :num_queries])))
            queries = rotate(queries.unflatten(-1, heads), rotary.first_frames(num_queries))
        return Projected(queries=queries, keys=keys, values=values.unflatten(-1, heads))

    def back(self, attended: Float[Tensor, "batch frames tokens joint_width"]) -> Tensor:
        """Return attended values at the stream's width."""
        return self.to_out(self.down(attended))


class TextAttention(nn.Module):
    """Cross-attention to the instruction, at the stream's own width."""

    def __init__(self, width: int, num_heads: int, eps: float):
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.Linear(width, width)
        self.norm_q = nn.RMSNorm(width, eps)
        self.norm_k = nn.RMSNorm(width, eps)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def text_keys(self, text: Float[Tensor, "batch length width"], bias: Tensor) -> TextKeys:
        """Return what `forward` needs of the text."""
        return TextKeys(self._heads(self.norm_k(self.to_k(text))), self._heads(self.to_v(text)), bias)

    def forward(self, x: Float[Tensor, "batch frames tokens width"], text: TextKeys) -> Tensor:
        """Return what each token reads from the instruction."""
        queries = self._heads(self.norm_q(self.to_q(x)).flatten(1, 2))
        read = F.scaled_dot_product_attention(queries, text.keys, text.values, attn_mask=text.bias)
        return self.to_out(read.transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3]))


class StreamBlock(nn.Module):
    """Joint attention, text attention, feed-forward; the first and last modulated by flow time.

    Source: Wan's transformer block, with self-attention taken apart so that two streams can share it.
    """

    def __init__(self, *, width: int, joint_width: int, num_heads: int, ffn_dim: int, projection: str, eps: float):
        super().__init__()
        self.eps = eps
        self.joint = JointProjections(width, joint_width, num_heads, projection, eps)
        self.text = TextAttention(width, num_heads, eps)
        self.text_norm = nn.LayerNorm(width, eps)
        self.ffn_in = nn.Linear(width, ffn_dim)
        self.ffn_out = nn.Linear(ffn_dim, width)
        self.modulation_table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def modulation(self, time: Float[Tensor, "batch #frames #tokens 6 width"]) -> Modulation:
        """Return this layer's modulation for the time projection of each latent frame, or of each token."""
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.modulation_table + time).unbind(3)
        return Modulation(attention=(shift, scale, gate), feed_forward=(ffn_shift, ffn_scale, ffn_gate))

    def project(
        self, x: Tensor, modulation: Modulation, rotary: RotaryTable, num_queries: int | None = None
    ) -> Projected:
        """Return what enters joint attention; queries of the first `num_queries` latent frames, or of all."""
        shift, scale, _ = modulation.attention
        return self.joint.project(modulated_norm(x, shift, scale, self.eps), rotary, num_queries)

    def update(self, x: Tensor, attended: Tensor, modulation: Modulation, text: TextKeys) -> Tensor:
        """Return the tokens after joint attention brought `attended`."""
        x = torch.addcmul(x, self.joint.back(attended), modulation.attention[2])
        x = x + self.text(self.text_norm(x), text)
        shift, scale, gate = modulation.feed_forward
        hidden = gelu(self.ffn_in(modulated_norm(x, shift, scale, self.eps)))
        return torch.addcmul(x, self.ffn_out(hidden), gate)


def modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Return the layer norm of x without weights of its own, scaled by 1 + scale and shifted."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)


def gelu(x: Tensor) -> Tensor:
    """Return GELU by its tanh formula, of x that nobody else needs: without gradients it is overwritten.

    On a CPU torch's own takes twice as long: its tanh is slow, and x / 2 * (1 + tanh(u)) is x * sigmoid(2 * u).
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
        return F.gelu(x, approximate="tanh")
    gate = (x * x).mul_(GELU_CUBIC * GELU_LINEAR).add_(GELU_LINEAR).mul_(x).sigmoid_()
    return x.mul_(gate)
