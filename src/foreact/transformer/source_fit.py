"""Whether weights from elsewhere fit a network of ours: by their settings, their sizes, then tensor by tensor."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from foreact.errors import CheckpointError
from foreact.shards import check_tensors
from foreact.transformer.model import TransformerConfig, WorldActionModel
from foreact.transformer.tokens import PATCH
from foreact.transformer.weight_names import original_name

Shape = tuple[int, ...]
SourceLayout = Literal["wan", "published"]
CONFIG_FILE = "config.json"


def network_shapes(config: TransformerConfig) -> dict[str, Shape]:
    """Return the shape of every tensor of a network; nothing is allocated."""
    with torch.device("meta"):
        model = WorldActionModel(config)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def check_fit(given: dict[str, Shape], config: TransformerConfig, layout: SourceLayout, folder: Path) -> None:
    """Compare a source with the network that is to be made from it.

    Args:
        given: Shapes of its tensors, under our names.
        config: Of the network to be made.
        layout: Of the source.
        folder: Of its files; `config.json` says what shapes do not.

    Raises:
        CheckpointError: It is of another size; the setting or the tensor is named.
    """
    _compare(_sizes(given), config, f"shapes of the weights in {folder}")
    _compare(_settings(folder / CONFIG_FILE), config, f"settings in {folder / CONFIG_FILE}")
    theirs = {original_name(name, layout): shape for name, shape in given.items()}
    allowed = {original_name(name, layout): shape for name, shape in _expected(config, layout).items()}
    check_tensors(theirs, allowed, f"weights in {folder}, for the chosen preset")


def _expected(config: TransformerConfig, layout: SourceLayout) -> dict[str, Shape]:
    shared = replace(
        config,
        backbone="shared",
        action_width=config.video_width,
        action_ffn_dim=config.video_ffn_dim,
        action_projection="direct",
        action_embedding="linear",
    )
    shapes = network_shapes(shared)
    return {name: shape for name, shape in shapes.items() if layout == "published" or name.startswith("video.")}


def _sizes(given: dict[str, Shape]) -> dict[str, Any]:
    """Return what the shapes tell, by the names of our settings."""
    sources = {
        "video_width": ("video.embed.weight", 0),
        "patch_features": ("video.embed.weight", 1),
        "text_dim": ("video.text_in.weight", 1),
        "frequency_dim": ("video.time_in.weight", 1),
        "video_ffn_dim": ("video.blocks.0.ffn_in.weight", 0),
        "action_channels": ("action.embed.weight", 1),
    }
    sizes = {setting: given[name][axis] for setting, (name, axis) in sources.items() if len(given.get(name, ())) > axis}
    layers = {int(name.split(".")[2]) for name in given if name.startswith("video.blocks.")}
    return sizes | {"num_layers": max(layers, default=-1) + 1}


def _settings(path: Path) -> dict[str, Any]:
    """Return what the source's own settings say beyond its shapes, by the names of ours."""
    try:
        stored = json.loads(path.read_text())
        patch = list(stored["patch_size"])
        settings = {"num_heads": stored["num_attention_heads"], "eps": stored["eps"], "patch_size": PATCH}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"settings in {path}",
            got=f"{type(error).__name__}: {error}",
            allowed="JSON with patch_size, num_attention_heads, eps",
            cure="fetch the file again: it belongs to the weights next to it",
        ) from error
    if patch != [1, PATCH, PATCH]:
        raise CheckpointError(f"patch_size in {path}", got=patch, allowed=[1, PATCH, PATCH])
    return settings


def _compare(found: dict[str, Any], config: TransformerConfig, what: str) -> None:
    differing = {name: value for name, value in found.items() if value != getattr(config, name)}
    if differing:
        raise CheckpointError(
            what,
            got=", ".join(f"{name} {value}" for name, value in differing.items()),
            allowed=", ".join(f"{name} {getattr(config, name)}" for name in differing),
            cure="choose the preset that these weights are for",
        )
