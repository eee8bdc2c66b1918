"""The published weights: a folder of `transformer/ vae/ text_encoder/ tokenizer/` in diffusers' layout, as a policy.

The published network is one transformer for both kinds of token. It runs here behind the same `Policy` as the
Mixture-of-Transformers. The folder says nothing of the robot: which cameras, which actions, which normalisation. That
comes as an `ActionCodec` and an `InferenceConfig`.
"""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from foreact.embodiments import ActionCodec, Embodiment
from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.inference import InferenceConfig, inference_from_plain
from foreact.policy.storage.assembly import StoredNetworks
from foreact.settings import read_json
from foreact.shards import TensorFolder
from foreact.transformer.model import TransformerConfig
from foreact.transformer.tokens import PATCH
from foreact.transformer.weight_names import from_published, layout_of

FOLDERS = ("transformer", "vae", "text_encoder", "tokenizer")
SETTINGS = Path(str(files("foreact.policy.storage"))) / "published_settings"
SPATIAL_FACTOR = 16
"""Pixels along one side of the square that Wan2.2's VAE makes one latent position."""
FIXED = {"_class_name": "WanTransformer3DModel", "patch_size": [1, PATCH, PATCH], "cross_attn_norm": True}
"""What `config.json` must say."""
TEXT_LENGTH = 512
"""Tokens that instructions are padded to, with zeros that the network reads."""


def is_published_layout(folder: Path) -> bool:
    """Return whether a folder has the parts of the published layout."""
    return (folder / "transformer").is_dir() and (folder / "vae").is_dir()


def open_published_networks(folder: Path, codec: ActionCodec) -> StoredNetworks:
    """Return where the networks in a folder of the published layout lie, for the robot that they are to drive.

    Raises:
        CheckpointError: A part is missing or damaged, or the network is of another kind.
    """
    tensors = open_published(folder)
    config = read_transformer_config(folder / "transformer", codec)
    return StoredNetworks(folder=folder, transformer=config, tensors=tensors, rename=from_published)


def open_published(folder: Path) -> TensorFolder:
    """Return the transformer's tensors in a folder of the published layout; none is read yet.

    Raises:
        CheckpointError: A part is missing, or these are Wan's own weights, which drive no robot.
    """
    for name in FOLDERS:
        if not (folder / name).is_dir():
            raise CheckpointError(
                f"published weights in {folder}", got=f"no folder {name}/", allowed=", ".join(f"{n}/" for n in FOLDERS)
            )
    tensors = TensorFolder.open(folder / "transformer")
    if layout_of(tensors.names) == "wan":
        raise CheckpointError(
            f"weights in {folder}",
            got="Wan's own, which know no actions",
            allowed="a policy",
            cure=f"make a policy to be trained from them: foreact init --from {folder}",
        )
    return tensors


def published_names() -> list[str]:
    """Return the published weights whose robots are known here."""
    return sorted(path.name.removesuffix(".json") for path in SETTINGS.iterdir() if path.name.endswith(".json"))


def _driven() -> list[str]:
    return [name for name in published_names() if read_json(SETTINGS / f"{name}.json").get("actions")]


def published_settings(name_or_file: str | Path) -> tuple[ActionCodec, InferenceConfig]:
    """Return robot, normalisation and schedule: of published weights by name, or from a JSON file of that form.

    Raises:
        CheckpointError: There is no such name or file, or it is damaged.
    """
    path = Path(name_or_file)
    if path.suffix != ".json":
        if str(name_or_file) not in published_names():
            allowed = f"a JSON file, or one of: {', '.join(published_names())}"
            raise CheckpointError("settings of published weights", got=repr(str(name_or_file)), allowed=allowed)
        path = SETTINGS / f"{name_or_file}.json"
    details = read_json(path)
    if details.get("actions") is None:
        raise CheckpointError(
            f"robot of {path.stem}",
            got="none: these weights were published without one",
            allowed="weights that were trained for a robot",
            cure=f"train them for yours, or give settings=, a JSON file like those of {', '.join(_driven())}",
        )
    try:
        return ActionCodec.from_dict(details["actions"]), inference_from_plain(details["inference"])
    except (ConfigurationError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"settings in {path}", got=str(error)) from error


def read_transformer_config(folder: Path, codec: ActionCodec) -> TransformerConfig:
    """Return the sizes that `config.json` tells, on the canvas of the robot's cameras.

    Raises:
        CheckpointError: It is missing, no JSON, or describes a network of another kind.
    """
    path = folder / "config.json"
    stored = read_json(path)
    for key, allowed in FIXED.items():
        if stored.get(key) != allowed:
            raise CheckpointError(f"{key} in {path}", got=stored.get(key), allowed=allowed)
    try:
        return _transformer_config(stored, codec.embodiment, path)
    except ConfigurationError as error:
        raise CheckpointError(f"configuration {path}", got=str(error)) from error


def _transformer_config(stored: Mapping[str, Any], embodiment: Embodiment, path: Path) -> TransformerConfig:
    width = _size(stored, "num_attention_heads", path) * _size(stored, "attention_head_dim", path)
    return TransformerConfig(
        latent_channels=_size(stored, "in_channels", path),
        canvas=embodiment.layout.canvas_shape(SPATIAL_FACTOR),
        actions_per_latent_frame=embodiment.timing.actions_per_latent_frame,
        action_channels=_size(stored, "action_dim", path),
        video_width=width,
        action_width=width,
        num_layers=_size(stored, "num_layers", path),
        num_heads=_size(stored, "num_attention_heads", path),
        video_ffn_dim=_size(stored, "ffn_dim", path),
        action_ffn_dim=_size(stored, "ffn_dim", path),
        text_dim=_size(stored, "text_dim", path),
        frequency_dim=_size(stored, "freq_dim", path),
        backbone="shared",
        action_embedding="linear",
        text_length=TEXT_LENGTH,
        eps=_positive(stored, "eps", path),
    )


def _size(stored: Mapping[str, Any], key: str, path: Path) -> int:
    value = stored.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{key} in {path}", got=value, allowed="a whole number, 1 or more")
    return value


def _positive(stored: Mapping[str, Any], key: str, path: Path) -> float:
    value = stored.get(key)
    if not isinstance(value, (int, float)) or not value > 0:
        raise CheckpointError(f"{key} in {path}", got=value, allowed="a number above 0")
    return float(value)
