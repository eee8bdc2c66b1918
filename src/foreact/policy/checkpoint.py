"""A policy on disk: `config.json`, `model.safetensors`, `vae/`. Nothing else is needed to run it."""

import dataclasses
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from foreact.codecs.text import HashedWordEncoder
from foreact.codecs.video_vae import VideoVAE
from foreact.embodiments import ActionCodec
from foreact.errors import CheckpointError, ConfigurationError
from foreact.files import write_whole
from foreact.policy.policy import Networks, Policy
from foreact.policy.predictor import InferenceConfig
from foreact.settings import from_plain, to_plain
from foreact.transformer.model import TransformerConfig, WorldActionModel

FORMAT = "foreact-policy-1"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
VAE_FOLDER = "vae"


def save_policy(policy: Policy, folder: Path, *, provenance: dict[str, Any]) -> None:
    """Write a policy; every file appears whole or not at all, the configuration last.

    Args:
        policy: What to write.
        folder: Made if missing.
        provenance: How it was trained: any JSON-able tree, kept beside the settings that running it needs.

    Raises:
        CheckpointError: It could not be written.
    """
    networks = policy.networks
    config = {
        "format": FORMAT,
        "transformer": to_plain(networks.model.config),
        "text_encoder": to_plain(networks.text_encoder),
        "actions": policy.codec.to_dict(),
        "inference": to_plain(policy.config),
        "provenance": provenance,
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in networks.model.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        networks.vae.save(folder / VAE_FOLDER)
        write_whole(folder / WEIGHTS_FILE, lambda path: save_file(weights, path, metadata={"format": "pt"}))
        write_whole(folder / CONFIG_FILE, (json.dumps(config, indent=1) + "\n").encode())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"writing the policy to {folder}",
            got=str(error),
            cure="free some space; what stood there before still does",
        ) from error


def load_policy(folder: Path, *, device: torch.device | str = "cpu") -> Policy:
    """Return the policy stored in a folder, in evaluation mode.

    Raises:
        CheckpointError: A file is missing, truncated, or of another configuration.
    """
    config = _read_config(folder / CONFIG_FILE)
    try:
        model = WorldActionModel(from_plain(TransformerConfig, config["transformer"], "transformer"))
        text_encoder = from_plain(HashedWordEncoder, config["text_encoder"], "text encoder")
        codec = ActionCodec.from_dict(config["actions"])
        inference = from_plain(InferenceConfig, config["inference"], "inference")
    except (ConfigurationError, KeyError, TypeError) as error:
        raise CheckpointError(f"configuration in {folder / CONFIG_FILE}", got=str(error)) from error
    _load_weights(model, folder / WEIGHTS_FILE)
    networks = Networks(
        model=model.to(device).eval(),
        vae=VideoVAE.from_pretrained(folder / VAE_FOLDER).to(device).eval(),
        text_encoder=text_encoder,
    )
    try:
        return Policy(networks, codec, inference)
    except ConfigurationError as error:
        raise CheckpointError(f"configuration in {folder / CONFIG_FILE}", got=str(error)) from error


def load(name_or_path: str | Path, *, device: torch.device | str = "cpu") -> Policy:
    """Return a policy: one that ships with the package by name, or any by its folder. Needs no network.

    Raises:
        CheckpointError: There is no such policy (those that ship are listed), or it is damaged.
    """
    if Path(name_or_path).is_dir():
        return load_policy(Path(name_or_path), device=device)
    shipped = Path(str(files("foreact"))) / "checkpoints"
    names = sorted(entry.name for entry in shipped.iterdir()) if shipped.is_dir() else []
    if str(name_or_path) not in names:
        raise CheckpointError(
            "policy",
            got=repr(str(name_or_path)),
            allowed=f"a folder, or one of: {', '.join(names) or 'none ship'}",
        )
    return load_policy(shipped / str(name_or_path), device=device)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError("policy", got=f"no file {path}", allowed="a folder written by `foreact train`")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"configuration {path}", got=str(error), cure="fetch it again: it is damaged") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(f"format of {path}", got=got, allowed=FORMAT)
    return config


def _load_weights(model: WorldActionModel, path: Path) -> None:
    if not path.is_file():
        raise CheckpointError("policy", got=f"no file {path}", cure="fetch the whole folder")
    try:
        model.load_state_dict(load_file(path), strict=True)
    except SafetensorError as error:
        raise CheckpointError(
            f"weights {path}", got=str(error), cure="fetch the file again: it is truncated"
        ) from error
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise CheckpointError(
            f"weights {path}", got=first, allowed=f"the network that {CONFIG_FILE} describes"
        ) from error


def with_settings(policy: Policy, **changes: Any) -> Policy:
    """Return the policy with some inference settings changed, for example `with_settings(policy, video_steps=3)`."""
    return policy.with_config(dataclasses.replace(policy.config, **changes))
