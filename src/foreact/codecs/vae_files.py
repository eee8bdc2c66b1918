"""A video VAE on disk, in diffusers' layout: `config.json` and `diffusion_pytorch_model.safetensors`."""

from pathlib import Path

from safetensors.torch import save_file

from foreact.errors import CheckpointError
from foreact.files import write_whole
from foreact.from_diffusers import AutoencoderKLWan
from foreact.settings import read_json
from foreact.shards import TensorFolder, load_strictly

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
    autoencoder = _build(config, folder)
    load_strictly(
        autoencoder, TensorFolder.open(folder, what="video VAE").items(), what=f"weights of the video VAE in {folder}"
    )
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
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise CheckpointError(f"configuration of the video VAE in {folder}", got=str(error)) from error
    assert isinstance(autoencoder, AutoencoderKLWan)  # a pair only where unused keys were asked for
    return autoencoder
