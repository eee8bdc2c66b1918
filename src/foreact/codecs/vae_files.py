"""A video VAE on disk, in diffusers' layout: `config.json` and `diffusion_pytorch_model.safetensors`."""

import json
from pathlib import Path

from diffusers import AutoencoderKLWan
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from foreact.errors import CheckpointError
from foreact.files import write_whole

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


def load_autoencoder(folder: Path) -> AutoencoderKLWan:
    """The network stored in `folder`; every weight is accounted for.

    Raises:
        CheckpointError: A file is missing, truncated, or of another class or shape.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise CheckpointError(
                "video VAE",
                got=f"no file {folder / name}",
                allowed=f"a folder with {CONFIG_FILE} and {WEIGHTS_FILE}",
            )
    autoencoder = _build(_read_config(folder / CONFIG_FILE), folder)
    try:
        weights = load_file(folder / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"weights of the video VAE in {folder}",
            got=str(error),
            cure="fetch the file again: it is truncated or foreign",
        ) from error
    try:
        autoencoder.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"weights of the video VAE in {folder}",
            got=str(error).splitlines()[1].strip(),
            allowed=f"the weights that {CONFIG_FILE} describes",
        ) from error
    return autoencoder


def save_autoencoder(autoencoder: AutoencoderKLWan, folder: Path) -> None:
    """Write weights, then configuration; a failure leaves the file that was there."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in autoencoder.state_dict().items()}
    write_whole(folder / WEIGHTS_FILE, lambda path: save_file(weights, path, metadata={"format": "pt"}))
    write_whole(folder / CONFIG_FILE, lambda path: path.write_text(autoencoder.to_json_string()))


def _read_config(path: Path) -> dict:
    try:
        config = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise CheckpointError(f"configuration {path}", got=str(error), allowed="JSON") from error
    class_name = config.get("_class_name") if isinstance(config, dict) else None
    if class_name != AutoencoderKLWan.__name__:
        raise CheckpointError(
            f"configuration {path}", got=f"_class_name {class_name!r}", allowed=AutoencoderKLWan.__name__
        )
    return config


def _build(config: dict, folder: Path) -> AutoencoderKLWan:
    try:
        autoencoder = AutoencoderKLWan.from_config(config)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise CheckpointError(f"configuration of the video VAE in {folder}", got=str(error)) from error
    assert isinstance(autoencoder, AutoencoderKLWan)  # a pair only where unused keys were asked for
    return autoencoder
