"""The same weights under three sets of names: diffusers' Wan, the published shared backbone, and ours.

Names are mapped one tensor at a time, so that a network larger than the memory passes through. What is in no list is
an error: nothing is dropped but what `UNUSED` names.
"""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

from einops import rearrange
from torch import Tensor

from foreact.errors import CheckpointError
from foreact.transformer.tokens import PATCH

Layout = Literal["wan", "published", "foreact"]
Named = list[tuple[str, Tensor]]
Names = dict[str, str]
"""Theirs to ours; a star stands for the number of a layer."""

TIME = {"time_embedder.linear_1": "time_in", "time_embedder.linear_2": "time_out", "time_proj": "time_projection"}
TEXT = {"text_embedder.linear_1": "text_in", "text_embedder.linear_2": "text_out"}
PARTS = ("to_q", "to_k", "to_v", "norm_q", "norm_k")
BLOCK = {
    **{f"attn1.{part}": f"joint.{part}" for part in PARTS},
    **{f"attn2.{part}": f"text.{part}" for part in PARTS},
    "attn1.to_out.0": "joint.to_out",
    "attn2.to_out.0": "text.to_out",
    "norm2": "text_norm",
    "ffn.net.0.proj": "ffn_in",
    "ffn.net.2": "ffn_out",
}


def _tensors(modules: Names) -> Names:
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in modules.items() for kind in ("weight", "bias")}


COMMON: Names = {
    "scale_shift_table": "video.head_table",
    "blocks.*.scale_shift_table": "video.blocks.*.modulation_table",
    **_tensors({f"blocks.*.{theirs}": f"video.blocks.*.{ours}" for theirs, ours in BLOCK.items()}),
    **_tensors({f"condition_embedder.{theirs}": f"video.{ours}" for theirs, ours in (TIME | TEXT).items()}),
    **_tensors({"proj_out": "video.head"}),
}
WAN: Names = COMMON | _tensors({"patch_embedding": "video.embed"})
PUBLISHED: Names = {
    **COMMON,
    **_tensors({"patch_embedding_mlp": "video.embed", "action_embedder": "action.embed"}),
    **_tensors({"action_proj_out": "action.head"}),
    **_tensors({f"condition_embedder_action.{theirs}": f"action.{ours}" for theirs, ours in TIME.items()}),
}
UNUSED: Names = _tensors({f"condition_embedder_action.{theirs}": f"video.{ours}" for theirs, ours in TEXT.items()})
"""The published network holds these, but reads the instruction with the video's for both kinds of token."""


def layout_of(names: Iterable[str]) -> Layout:
    """Return whose names these are.

    Raises:
        CheckpointError: Nobody's that we know.
    """
    known = set(names)
    if "condition_embedder.time_proj.weight" in known:
        if "patch_embedding_mlp.weight" in known:
            return "published"
        if "patch_embedding.weight" in known:
            return "wan"
    if {"video.embed.weight", "action.embed.weight"} <= known:
        return "foreact"
    original = "patch_embedding.weight" in known and "head.head.weight" in known
    raise CheckpointError(
        "names of the transformer's tensors",
        got=", ".join(sorted(known)[:3]) or "none",
        allowed="diffusers' WanTransformer3DModel, the published shared backbone, or foreact's own",
        cure="these are Wan's original names: take the repository that ends in -Diffusers" if original else None,
    )


def from_wan(name: str, tensor: Tensor) -> Named:
    """Return what a tensor of diffusers' `WanTransformer3DModel` is in our video stream, "video." before its name.

    Raises:
        CheckpointError: The name is not one of those.
    """
    return [(_rename(name, WAN, "diffusers' WanTransformer3DModel"), _values_from_wan(name, tensor))]


def from_published(name: str, tensor: Tensor) -> Named:
    """Return what a tensor of the published shared backbone is in ours; nothing for one that is `UNUSED`.

    Raises:
        CheckpointError: The name is not one of those.
    """
    if name in UNUSED:
        return []
    return [(_rename(name, PUBLISHED, "the published shared backbone"), _values_from_wan(name, tensor))]


def to_published(name: str, tensor: Tensor) -> Named:
    """Return what a tensor of our shared backbone is in the published layout.

    The video's text layers come a second time, for what the published network holds and does not use.

    Raises:
        CheckpointError: The name is not one of a shared backbone's.
    """
    theirs = _rename(name, _inverse(PUBLISHED), "foreact's shared backbone")
    again = [other for other, ours in UNUSED.items() if ours == name]
    return [(each, _values_to_published(name, tensor)) for each in (theirs, *again)]


def original_name(name: str, layout: Literal["wan", "published"]) -> str:
    """Return what a tensor of ours is called where it came from.

    Raises:
        CheckpointError: There is none of that name there.
    """
    return _rename(name, _inverse(WAN if layout == "wan" else PUBLISHED), f"foreact's that comes from {layout}")


def _inverse(names: Names) -> Names:
    return {ours: theirs for theirs, ours in names.items()}


def _rename(name: str, names: Names, what: str) -> str:
    number = re.search(r"(?<=\bblocks\.)\d+", name)
    starred = name if number is None else f"{name[: number.start()]}*{name[number.end() :]}"
    if starred not in names:
        close = get_close_matches(starred, names, n=1, cutoff=0)
        raise CheckpointError(f"tensor of {what}", got=repr(name), allowed=f"{len(names)} names, like {close[0]!r}")
    return names[starred] if number is None else names[starred].replace("*", number.group())


def _values_from_wan(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("scale_shift_table"):
        return tensor.squeeze(0)
    if name == "patch_embedding.weight":
        return tensor.flatten(1)
    if name.startswith("proj_out.") and len(tensor) % PATCH**2 == 0:
        # Wan's features run (row, column, channel), ours (channel, row, column).
        return rearrange(tensor, "(p q c) ... -> (c p q) ...", p=PATCH, q=PATCH)
    return tensor


def _values_to_published(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("_table"):
        return tensor.unsqueeze(0)
    if name.startswith("video.head."):
        return rearrange(tensor, "(c p q) ... -> (p q c) ...", p=PATCH, q=PATCH)
    return tensor
