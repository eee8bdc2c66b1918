"""How many weights a network has, part by part: counted on the network itself, on the device that allocates nothing."""

import re
from dataclasses import dataclass

import torch
from torch import nn

from foreact.training.methods import MATRICES, AdapterConfig
from foreact.transformer.model import TransformerConfig, WorldActionModel

PARTS = {
    "embed": "embed",
    "embed_out": "embed",
    "time_in": "time",
    "time_out": "time",
    "time_projection": "time",
    "modulation_table": "time",
    "text_in": "text",
    "text_out": "text",
    "joint": "joint_attention",
    "text": "text_attention",
    "text_norm": "text_attention",
    "ffn_in": "feed_forward",
    "ffn_out": "feed_forward",
    "head": "head",
    "head_table": "head",
}
"""Which part a weight belongs to, by the first word of its name (in a layer: the first after the layer's number)."""


@dataclass(frozen=True, kw_only=True)
class StreamParameters:
    """Weights of one stream; 0 where it uses the other's."""

    embed: int = 0
    """The way in."""
    time: int = 0
    """Flow time to modulations, and the layers' modulation tables."""
    text: int = 0
    """From the text encoder's width to the stream's."""
    joint_attention: int = 0
    """Queries, keys, values and the way back, all layers."""
    text_attention: int = 0
    """Cross-attention to the instruction, all layers."""
    feed_forward: int = 0
    """All layers."""
    head: int = 0
    """The way out."""
    total: int = 0
    """All of them."""


@dataclass(frozen=True, kw_only=True)
class NetworkParameters:
    """Weights of the whole network."""

    video: StreamParameters
    """Of the video stream."""
    action: StreamParameters
    """Of the action stream."""
    total: int
    """Both."""
    layer_matrices: int
    """Of them, in the matrices of the layers: what int8 and fp8 shrink."""
    lora_trained: int
    """What `--method lora` trains: the action stream, and adapters of the default rank next to the matrices of the
    video stream's layers."""
    lora_frozen: int
    """What it leaves as it is: the rest of the video stream."""


def count_network(config: TransformerConfig) -> NetworkParameters:
    """Return the counts; nothing is allocated, whatever the size."""
    with torch.device("meta"):
        model = WorldActionModel(config)
    video, action = (count_stream(model, name) for name in ("video", "action"))
    matrices = {name: module.weight for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    in_layers = [weight for name, weight in matrices.items() if name.startswith("layers.")]
    adapted = [weight for name, weight in matrices.items() if re.fullmatch(MATRICES, name)]
    adapters = sum(AdapterConfig().rank * sum(weight.shape) for weight in adapted)
    return NetworkParameters(
        video=video,
        action=action,
        total=video.total + action.total,
        layer_matrices=sum(weight.numel() for weight in in_layers),
        lora_trained=action.total + adapters,
        lora_frozen=video.total,
    )


def count_stream(model: WorldActionModel, stream: str) -> StreamParameters:
    """Return by part the weights of one stream, `video` or `action`."""
    counts: dict[str, int] = {}
    for name, parameter in model.state_dict(keep_vars=True).items():
        of, *words = name.split(".")
        if of != stream:
            continue
        part = PARTS[words[2] if words[0] == "blocks" else words[0]]
        counts[part] = counts.get(part, 0) + parameter.numel()
    return StreamParameters(**counts, total=sum(counts.values()))


def count_parameters(module: nn.Module) -> int:
    """Return the number of weights of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
