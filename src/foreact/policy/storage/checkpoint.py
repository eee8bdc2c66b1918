"""A policy on disk: `config.json`, `model.safetensors` or its shards, `vae/`, a large text encoder if it has one.

Nothing else is needed to run it. `foreact.policy.loading` makes a policy of it.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from foreact.codecs.text import HashedWordEncoder, TextEncoder
from foreact.embodiments import ActionCodec
from foreact.errors import CheckpointError, ConfigurationError
from foreact.files import write_whole
from foreact.policy.inference import InferenceChoices, InferenceConfig, inference_from_plain
from foreact.policy.networks import Networks, PolicyParts
from foreact.policy.storage.assembly import TEXT_ENCODER_FOLDER, TOKENIZER_FOLDER, VAE_FOLDER, StoredNetworks
from foreact.policy.storage.card import model_card
from foreact.policy.storage.hub import resolve
from foreact.policy.storage.published import is_published_layout
from foreact.policy.trained import TrainedFor
from foreact.settings import build, from_plain, read_json, to_plain
from foreact.shards import ShardWriter, TensorFolder
from foreact.transformer.model import TransformerConfig

FORMAT, EARLIER_FORMAT = "foreact-policy-2", "foreact-policy-1"
"""The earlier one keeps what the network was trained for among the settings of inference."""
FORMATS = (FORMAT, EARLIER_FORMAT)
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
STEM = "model"
MAX_SHARD_BYTES = 5_000_000_000
WORDS, UMT5 = "words", "umt5"
"""Kinds of text encoder, as `config.json` names them."""


def save_policy(policy: PolicyParts, folder: Path, *, provenance: dict[str, Any]) -> None:
    """Write a policy; every file appears whole or not at all, the configuration last.

    Args:
        policy: What to write.
        folder: Made if missing.
        provenance: How it was trained: any JSON-able tree, kept next to the settings that running it needs.

    Raises:
        CheckpointError: It could not be written, its weights are held in 8 bits, its text encoder is no longer where
            it was loaded from, or the folder holds published weights.
    """
    networks = policy.networks
    config = {
        "format": FORMAT,
        "transformer": to_plain(networks.model.config),
        "text_encoder": _describe_text_encoder(networks),
        "actions": policy.codec.to_dict(),
        "trained_for": to_plain(policy.config.trained),
        "inference": to_plain(policy.config.choices),
        "instructions": list(policy.instructions),
        "provenance": provenance,
    }
    _check_savable(policy, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if networks.text_files is not None:
            copy_parts(networks.text_files, folder, (TEXT_ENCODER_FOLDER, TOKENIZER_FOLDER))
        networks.vae.save(folder / VAE_FOLDER)
        with ShardWriter(folder, STEM, MAX_SHARD_BYTES) as writer:
            for name, value in networks.model.state_dict().items():
                writer.add(name, value)
        write_whole(folder / CARD_FILE, model_card(policy, provenance).encode())
        write_whole(folder / CONFIG_FILE, (json.dumps(config, indent=1) + "\n").encode())
    except OSError as error:
        raise CheckpointError(
            f"writing the policy to {folder}",
            got=str(error),
            cure="free some space; what stood there before still does",
        ) from error


@dataclass(frozen=True, kw_only=True)
class StoredPolicy:
    """A policy in its folder; of its networks nothing is read yet."""

    networks: StoredNetworks
    codec: ActionCodec
    inference: InferenceConfig
    instructions: tuple[str, ...]
    """What it was trained on; policies that were saved before they kept their instructions have none."""


def open_policy(folder: Path) -> StoredPolicy:
    """Return what the configuration in a policy's folder says.

    Raises:
        CheckpointError: A file is missing, damaged, or in another format.
    """
    with _configuration(folder) as config:
        transformer = from_plain(TransformerConfig, config["transformer"], "transformer")
        text_encoder = read_text_encoder(config["text_encoder"])
        codec = ActionCodec.from_dict(config["actions"])
        inference = read_inference(config)
        instructions = build(tuple[str, ...], config.get("instructions", []), "instructions")
    tensors = TensorFolder.open(folder, STEM, "policy")
    networks = StoredNetworks(folder=folder, transformer=transformer, tensors=tensors, text_encoder=text_encoder)
    return StoredPolicy(networks=networks, codec=codec, inference=inference, instructions=instructions)


def open_networks(stored: StoredPolicy) -> dict[str, TensorFolder]:
    """Return the tensors of each network of a policy by what it is called for people; headers are read, no weights.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    folder = stored.networks.folder
    opened = {"network": stored.networks.tensors, "video VAE": TensorFolder.open(folder / VAE_FOLDER, what="video VAE")}
    if stored.networks.text_encoder is None:
        opened["text encoder"] = TensorFolder.open(folder / TEXT_ENCODER_FOLDER, STEM, "UMT5 text encoder")
    return opened


def find_policy(name_or_path: str | Path, *, revision: str | None = None) -> Path:
    """Return the folder of a policy, as `load` finds it: fetched from the hub if need be; nothing is loaded.

    Raises:
        CheckpointError: There is no such policy; those that ship are listed.
    """
    shipped = Path(str(files("foreact"))) / "checkpoints" / str(name_or_path)
    is_name = Path(name_or_path).name == str(name_or_path)
    return shipped if is_name and shipped.is_dir() else resolve(name_or_path, revision=revision)


def find_vae(name_or_path: str | Path) -> Path:
    """Return the folder of a video VAE: the one that is named, or that of the policy that is named.

    Raises:
        CheckpointError: There is neither.
    """
    folder = Path(name_or_path).expanduser()
    if not ((folder / CONFIG_FILE).is_file() or (folder / VAE_FOLDER).is_dir()):
        folder = find_policy(name_or_path)
    return folder / VAE_FOLDER if (folder / VAE_FOLDER).is_dir() else folder


def read_codec(folder: Path) -> ActionCodec:
    """Return the robot and the normalisation of a policy saved by foreact, without its weights.

    Raises:
        CheckpointError: Its configuration is missing, damaged, or in another format.
    """
    with _configuration(folder) as config:
        return ActionCodec.from_dict(config["actions"])


def check_format(config: Mapping[str, Any], path: Path) -> None:
    """Refuse a policy's configuration that this version cannot read.

    Raises:
        CheckpointError: It is of another format.
    """
    if config.get("format") not in FORMATS:
        raise CheckpointError(f"format of {path}", got=config.get("format"), allowed=", ".join(FORMATS))


def read_inference(config: Mapping[str, Any]) -> InferenceConfig:
    """Return how the policy of a `config.json` computes its chunks, and what it was trained for.

    Raises:
        ConfigurationError: A setting is unknown, of another type, or does not go with the others.
        KeyError: There are no such settings.
    """
    if config["format"] == FORMAT:
        trained = from_plain(TrainedFor, config["trained_for"], "trained_for")
        return InferenceConfig.join(from_plain(InferenceChoices, config["inference"], "inference"), trained)
    inference = inference_from_plain(config["inference"])
    learned = config.get("provenance", {}).get("recipe")
    batch = learned.get("batch", {}) if isinstance(learned, Mapping) else {}
    if "max_chunk" not in batch:
        return inference
    largest = max(batch["max_chunk"], inference.latent_frames_per_chunk)
    return replace(inference, trained=replace(inference.trained, largest_chunk=largest))


@contextmanager
def _configuration(folder: Path) -> Iterator[dict[str, Any]]:
    """Give a policy's configuration to whoever reads it; what cannot be read is a CheckpointError."""
    config = read_json(folder / CONFIG_FILE)
    check_format(config, folder / CONFIG_FILE)
    try:
        yield config
    except (ConfigurationError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"configuration in {folder / CONFIG_FILE}", got=str(error)) from error


def _describe_text_encoder(networks: Networks) -> dict[str, Any]:
    if networks.text_files is not None:
        return {"kind": UMT5}
    return {"kind": WORDS, **to_plain(networks.text_encoder)}


def read_text_encoder(stored: dict[str, Any]) -> TextEncoder | None:
    """Return the text encoder that a `config.json` describes; None for a large one, which has files of its own."""
    settings = dict(stored)
    kind = settings.pop("kind", WORDS)
    if kind not in (WORDS, UMT5):
        raise ConfigurationError("kind of text encoder", got=kind, allowed=f"{WORDS}, {UMT5}")
    return from_plain(HashedWordEncoder, settings, "text encoder") if kind == WORDS else None


def copy_parts(source: Path, target: Path, parts: tuple[str, ...]) -> None:
    """Bring frozen networks along, as links where the file system has them: they are never changed.

    Args:
        source: Folder with some of the parts.
        target: Gets them; what stood there under these parts goes.
        parts: Names of sub-folders.
    """
    for part in parts:
        if source.resolve() == target.resolve() or not (source / part).is_dir():
            continue
        (target / part).mkdir(parents=True, exist_ok=True)
        files = {file.name: file for file in (source / part).iterdir() if file.is_file()}
        for name, file in files.items():
            _link_or_copy(file, target / part / name)
        for stale in (file for file in (target / part).iterdir() if file.name not in files):
            stale.unlink()


def _link_or_copy(file: Path, copy: Path) -> None:
    if copy.exists() and copy.samefile(file):
        return
    temporary = copy.with_name(f".{copy.name}.{os.getpid()}.tmp")
    try:
        os.link(file.resolve(), temporary)
        temporary.replace(copy)
    except OSError:  # another disk, or no links there
        write_whole(copy, lambda path: shutil.copyfile(file, path))
    finally:
        temporary.unlink(missing_ok=True)


def _check_savable(policy: PolicyParts, folder: Path) -> None:
    if is_published_layout(folder):
        got = "weights in the published layout: it could not be told which of the two are meant"
        raise CheckpointError(f"folder {folder} for a policy", got=got, cure="choose another folder")
    source = policy.networks.text_files
    if source is not None and not (source / TEXT_ENCODER_FOLDER).is_dir():
        got = f"no folder {source / TEXT_ENCODER_FOLDER}, from which it was loaded"
        raise CheckpointError("text encoder of a policy to be saved", got=got, cure="load the policy anew")
    plain = {torch.float32, torch.bfloat16, torch.float16}
    for name, value in policy.networks.model.named_parameters():
        if value.is_meta or value.dtype not in plain or type(value.data) is not torch.Tensor:
            raise CheckpointError(
                "saving a policy",
                got=f"{name} is held in 8 bits or offloaded",
                cure="load it without quantize and offload, and save that",
            )
