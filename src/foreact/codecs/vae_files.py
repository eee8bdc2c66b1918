"""A video VAE on disk, in diffusers' layout: `config.json` and `diffusion_pytorch_model.safetensors`."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from foreact.errors import CheckpointError
from foreact.files import write_whole
from foreact.from_diffusers import AutoencoderKLWan
from foreact.settings import read_json
from foreact.shards import TensorFolder, check_sizes, check_tensors, load_strictly

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


def load_autoencoder(folder: Path) -> AutoencoderKLWan:
    """The network stored in `folder`; every weight is accounted for.

    Raises:
        CheckpointError: A file is missing, truncated, or of another class or shape.
    """
    config = read_json(folder / CONFIG_FILE)
    if config.get("_class_name") != AutoencoderKLWan.__name__:
        raise CheckpointError(
            f"configuration {folder / CONFIG_FILE}",
            got=f"_class_name {config.get('_class_name')!r}",
            allowed=AutoencoderKLWan.__name__,
        )
    stored, what = TensorFolder.open(folder, what="video VAE"), f"weights of the video VAE in {folder}"
    check_sizes(config, stored, "num_res_blocks", f"configuration of the video VAE in {folder}")
    with torch.device("meta"):  # nothing is allocated before it is known that it is what the files hold
        planned = _build(config, folder).state_dict()
    shapes = {name: stored.shape(name) for name in stored.names}
    check_tensors(shapes, {name: tuple(value.shape) for name, value in planned.items()}, what)
    autoencoder = _build(config, folder)
    load_strictly(autoencoder, stored.items(), what=what)
    return autoencoder


def save_autoencoder(autoencoder: AutoencoderKLWan, folder: Path) -> None:
    """Write weights, then configuration; a failure leaves the file that was there."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().cpu().contiguous() for name, value in autoencoder.state_dict().items()}
    write_whole(folder / WEIGHTS_FILE, lambda path: save_file(weights, path, metadata={"format": "pt"}))
    write_whole(folder / CONFIG_FILE, lambda path: path.write_text(autoencoder.to_json_string()))


def _build(config: dict, folder: Path) -> AutoencoderKLWan:
    try:
        autoencoder = AutoencoderKLWan.from_config(config)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"configuration of the video VAE in {folder}", got=str(error)) from error
    assert isinstance(autoencoder, AutoencoderKLWan)  # a pair only where unused keys were asked for
    return autoencoder
