"""Initial weights on disk: what training begins from, made by `foreact init` or by an earlier training.

`foreact init` writes `config.json`, `model.safetensors` or its shards, and the frozen networks next to them: `vae/`,
`text_encoder/`, `tokenizer/`. Not a policy yet: it knows no robot and no normalisation. A policy does, but is begun
from all the same: its weights and its text encoder are taken, its normalisation is fitted anew.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from foreact.codecs.text import TextEncoder
from foreact.errors import CheckpointError, ConfigurationError
from foreact.files import write_whole
from foreact.policy.storage.assembly import TEXT_ENCODER_FOLDER, TOKENIZER_FOLDER, VAE_FOLDER, umt5_encoder
from foreact.policy.storage.checkpoint import CONFIG_FILE, STEM, UMT5, copy_parts, read_text_encoder
from foreact.policy.storage.checkpoint import FORMATS as POLICY_FORMATS
from foreact.policy.storage.placement import Placement
from foreact.settings import from_plain, read_json, to_plain
from foreact.shards import TensorFolder, load_strictly
from foreact.transformer.model import TransformerConfig, WorldActionModel

FORMAT = "foreact-initial-1"
FROZEN = (VAE_FOLDER, TEXT_ENCODER_FOLDER, TOKENIZER_FOLDER)
"""What is next to the weights, from where they came."""
RELEASED_TEXT = Placement(text_encoder="release")
"""In training instructions are few: each is embedded once, and the encoder let go."""


def write_initial(folder: Path, config: TransformerConfig, source: Path, origin: dict[str, Any]) -> None:
    """Complete a folder of weights: bring the frozen networks of `source` along, and write the configuration last.

    Args:
        folder: Holds the weights.
        config: Of the network they are for.
        source: May hold `vae/`, `text_encoder/` and `tokenizer/`.
        origin: What the weights were made from, for people.
    """
    copy_parts(source, folder, FROZEN)
    stored = {"format": FORMAT, "transformer": to_plain(config), "text_encoder": {"kind": UMT5}, "origin": origin}
    write_whole(folder / CONFIG_FILE, (json.dumps(stored, indent=1) + "\n").encode())


def load_initial(folder: Path, config: TransformerConfig) -> WorldActionModel:
    """Return a network with the weights in `folder`, in float32, to be trained.

    Args:
        folder: Written by `foreact init`, or a policy's.
        config: Of the network wanted. The canvas and the number of actions may differ: no weight depends on them.

    Raises:
        CheckpointError: The folder is damaged, or its network has other sizes.
    """
    tensors = open_initial(folder, config)
    model = WorldActionModel(config)
    load_strictly(model, tensors.items(), what=f"initial weights in {folder}", dtype=next(model.parameters()).dtype)
    return model


def open_initial(folder: Path, config: TransformerConfig) -> TensorFolder:
    """Return the weights in `folder`, to be read one by one, once it is sure that they are of such a network.

    Args:
        folder: Written by `foreact init`, or a policy's.
        config: Of the network wanted. The canvas and the number of actions may differ: no weight depends on them.

    Raises:
        CheckpointError: The folder is damaged, or its network has other sizes.
    """
    stored = _read(folder)
    try:
        theirs = from_plain(TransformerConfig, stored["transformer"], "transformer")
    except (ConfigurationError, KeyError) as error:
        raise CheckpointError(f"configuration in {folder / CONFIG_FILE}", got=str(error)) from error
    theirs = replace(theirs, canvas=config.canvas, actions_per_latent_frame=config.actions_per_latent_frame)
    ours, other = to_plain(config), to_plain(theirs)
    if differing := {name: value for name, value in other.items() if value != ours[name]}:
        raise CheckpointError(
            f"sizes of the initial weights in {folder}", got=differing, allowed={name: ours[name] for name in differing}
        )
    return TensorFolder.open(folder, STEM, "initial weights")


def initial_text_encoder(folder: Path, config: TransformerConfig) -> TextEncoder:
    """Return the text encoder that initial weights read: a large one is loaded for instructions it has not met."""
    return read_text_encoder(_read(folder)["text_encoder"]) or umt5_encoder(folder, config.text_length, RELEASED_TEXT)


def initial_origin(folder: Path) -> Any:
    """Return where initial weights came from, to be kept with what is trained from them."""
    stored = _read(folder)
    return stored["origin"] if stored["format"] == FORMAT else {"policy": folder.name, **stored["provenance"]}


def _read(folder: Path) -> dict[str, Any]:
    stored = read_json(folder / CONFIG_FILE)
    if stored.get("format") not in (FORMAT, *POLICY_FORMATS):
        raise CheckpointError(
            f"initial weights in {folder}",
            got=stored.get("format"),
            allowed=", ".join((FORMAT, *POLICY_FORMATS)),
            cure="make them with `foreact init`, or give a policy's folder",
        )
    return stored
