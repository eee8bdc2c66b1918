"""`foreact init`: the weights of a new network, made from Wan2.2's or from a published shared backbone."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from foreact.commands.options import named
from foreact.commands.progress import bold, console, plain, progress_bar
from foreact.errors import ConfigurationError
from foreact.folders import check_room, only_writer
from foreact.policy.storage.hub import resolve
from foreact.policy.storage.initial import FROZEN, write_initial
from foreact.recipes import RECIPES, get_recipe
from foreact.shards import ShardWriter, TensorFolder
from foreact.transformer.derivation import plan_derivation
from foreact.transformer.model import TransformerConfig

STEM = "model"
TRANSFORMER_FOLDER = "transformer"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
DISK_MARGIN = 1.01
"""Headers and index, next to the values."""
GB = 1e9
FULL_SIZE = [name for name, recipe in RECIPES.items() if recipe().transformer.text_length]
"""Recipes whose networks read a large text encoder, and so start from published weights."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Make the initial weights of a full-size network from published ones.

    The source is Wan2.2 or a published LingBot-VA. Tensors pass through one by one: a few gigabytes of memory are
    enough. What the source has nothing for (the action stream's way in and out) is drawn from the seed; the action
    stream's layers are interpolated from the video stream's. Then: foreact train --recipe wan5b --initial OUT ...

    Example: foreact init --preset wan5b --from Wan-AI/Wan2.2-TI2V-5B-Diffusers --out weights/wan5b
    """

    preset: Annotated[str, named(FULL_SIZE)]
    """A stream of its own for actions, or one backbone shared by video and actions."""
    source: Annotated[str, tyro.conf.arg(name="from")]
    """A folder in diffusers' layout, or "owner/name" on the hub."""
    out: Path
    """Gets config.json, model*.safetensors, and links to the source's vae/, text_encoder/ and tokenizer/."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the weights."""
    shard_gb: float = 2.0
    """Size of a file, gigabytes."""
    seed: int = 0
    """Of what is drawn."""


def run(settings: Settings) -> None:
    """Plan the new network, check that it fits on the disk, and write it."""
    preset, source, out, seed = settings.preset, settings.source, settings.out, settings.seed
    dtype, shard_gb = settings.dtype, settings.shard_gb
    config = get_recipe(preset).transformer
    if not config.text_length:
        raise ConfigurationError(
            "preset",
            got=f"{preset}, which is trained from scratch",
            allowed=", ".join(FULL_SIZE),
            cure="`foreact train` needs no init",
        )
    if not shard_gb > 0:
        raise ConfigurationError("shard_gb", got=shard_gb, allowed="above 0")
    folder = resolve(source)
    with only_writer(out):
        num_parameters = initialize_from(
            config, folder, out, dtype=getattr(torch, dtype), max_shard_bytes=int(shard_gb * GB), seed=seed
        )
        write_initial(out, config, folder, {"preset": preset, "source": source, "seed": seed, "dtype": dtype})
    console.print(f"{num_parameters / 1e9:.2f} B weights are in {bold(out)}.")
    if missing := [name for name in FROZEN if not (out / name).is_dir()]:
        console.print(f"The source has no {', '.join(missing)}: put them there before training.")
    console.print(
        f"Next: foreact train --recipe {preset} --initial {plain(out)} --vae {plain(out / 'vae')} --data ... --out ..."
    )


def initialize_from(
    config: TransformerConfig,
    source: Path,
    out: Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    max_shard_bytes: int = 2_000_000_000,
    seed: int = 0,
) -> int:
    """Write the weights of a new network, `model*.safetensors`; return the number of its parameters.

    One tensor of the source is in memory at a time, and one shard of the new network.

    Args:
        config: Of the network.
        source: Folder of the weights in diffusers' layout, or the folder that has it as transformer/.
        out: Gets the shards; weights that stood there go when these are whole.
        dtype: Of the weights.
        max_shard_bytes: Size of a file.
        seed: Of what the source has nothing for.

    Raises:
        CheckpointError: The source is damaged or does not fit, or the disk is too small.
        ConfigurationError: Weights cannot be of that type.
    """
    if dtype not in DTYPES:
        raise ConfigurationError("type of the weights", got=dtype, allowed=", ".join(map(str, DTYPES)))
    weights = TensorFolder.open(source / TRANSFORMER_FOLDER if (source / TRANSFORMER_FOLDER).is_dir() else source)
    plan = plan_derivation(weights, config)
    num_parameters = sum(prod(shape) for shape in plan.shapes.values())
    needed = int(num_parameters * dtype.itemsize * DISK_MARGIN)
    free = check_room(out, needed)
    console.print(f"Writing {needed / GB:.3g} GB to {bold(out)} ({free / GB:.3g} GB free).")
    with progress_bar() as bar, ShardWriter(out, STEM, max_shard_bytes) as writer:
        shown = bar.add_task("writing weights", total=len(plan.shapes), figures="")
        for number, (name, tensor) in enumerate(plan.tensors(seed=seed), start=1):
            writer.add(name, tensor.to(dtype))
            bar.update(shown, completed=number)
    return num_parameters
