"""What can be described: a recipe by name, or a policy in a folder, by what its configuration says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from foreact.cost.video_vae import WAN22, WAN22_CHANNELS
from foreact.embodiments import CameraLayout, Embodiment
from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.inference import InferenceConfig
from foreact.policy.storage.assembly import VAE_FOLDER
from foreact.policy.storage.checkpoint import CONFIG_FILE, UMT5, check_format, read_inference
from foreact.policy.storage.published import is_published_layout, published_settings, read_transformer_config
from foreact.settings import from_plain, read_json
from foreact.training.recipe import Recipe
from foreact.training.step import BatchConfig
from foreact.training.video_vae_config import VideoVAETrainingConfig
from foreact.transformer.model import TransformerConfig

UMT5_PARAMETERS = 5_680_910_336
"""Weights of the encoder of google/umt5-xxl, which Wan2.2 and the published policies use: a known constant."""
NUM_WORD_TOKENS = 20
"""Tokens of an instruction, taken for all figures; a sentence has about so many."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """All that the figures follow from."""

    name: str
    """Of the recipe, or the policy's folder."""
    transformer: TransformerConfig
    """Sizes of the network."""
    inference: InferenceConfig
    """The schedule."""
    embodiment: Embodiment
    """The robot with the cameras that the policy sees."""
    video_vae: Mapping[str, Any]
    """Of `AutoencoderKLWan`."""
    video_vae_name: str
    """For people."""
    batch: BatchConfig | None = None
    """How it is trained, where that is known."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of training."""
    uses_umt5: bool = False
    """Whether instructions are embedded by UMT5-XXL."""

    @property
    def layout(self) -> CameraLayout:
        """The cameras."""
        return self.embodiment.layout

    @property
    def text_tokens(self) -> int:
        """Keys of an instruction: its words, and one that stands for all its padding where that is read."""
        return NUM_WORD_TOKENS + (self.transformer.text_length > NUM_WORD_TOKENS)


def subject_of_recipe(name: str, recipe: Recipe) -> Subject:
    """Return what a recipe describes.

    48 latent channels come from Wan2.2's video VAE, any other number from the small one that `foreact train-vae`
    makes; text whose padding is read comes from UMT5-XXL.
    """
    channels = recipe.transformer.latent_channels
    is_wan = channels == WAN22_CHANNELS
    small = VideoVAETrainingConfig(num_channels=channels)
    return Subject(
        name=name,
        transformer=recipe.transformer,
        inference=recipe.policy_config(),
        embodiment=recipe.robot(),
        video_vae=WAN22 if is_wan else dict(small.build_autoencoder().config),
        video_vae_name="Wan2.2's" if is_wan else "the small one of foreact train-vae",
        batch=recipe.batch,
        precision="bfloat16" if recipe.precision == "bfloat16" else "float32",
        uses_umt5=recipe.transformer.text_length > 0,
    )


def subject_of_policy(folder: Path) -> Subject:
    """Return what a policy's folder describes, one saved by foreact or of the published layout; weights stay closed.

    Raises:
        CheckpointError: A configuration is missing, damaged, or of another format, or published weights have a name
            of which no robot is known.
    """
    if is_published_layout(folder):
        return _subject_of_published(folder)
    config = read_json(folder / CONFIG_FILE)
    check_format(config, folder / CONFIG_FILE)
    vae = read_json(folder / VAE_FOLDER / CONFIG_FILE)
    try:
        recipe = config["provenance"].get("recipe", {})
        return Subject(
            name=str(folder),
            transformer=from_plain(TransformerConfig, config["transformer"], "transformer"),
            inference=read_inference(config),
            embodiment=Embodiment.from_dict(config["actions"]["embodiment"]),
            video_vae=vae,
            video_vae_name="its own",
            batch=from_plain(BatchConfig, recipe["batch"], "batch") if "batch" in recipe else None,
            precision=recipe.get("precision", "float32"),
            uses_umt5=config["text_encoder"].get("kind") == UMT5,
        )
    except (ConfigurationError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"configuration in {folder / CONFIG_FILE}", got=str(error)) from error


def _subject_of_published(folder: Path) -> Subject:
    codec, inference = published_settings(folder.resolve().name)
    return Subject(
        name=str(folder),
        transformer=read_transformer_config(folder / "transformer", codec),
        inference=inference,
        embodiment=codec.embodiment,
        video_vae=read_json(folder / VAE_FOLDER / CONFIG_FILE),
        video_vae_name="its own",
        uses_umt5=True,
    )
