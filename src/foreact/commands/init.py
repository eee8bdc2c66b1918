"""`foreact init`: the weights of a new network, made from Wan2.2's or from a published shared backbone."""

import shutil
from math import prod
from pathlib import Path

import torch

from foreact.commands.progress import console, progress_bar
from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.hub import resolve
from foreact.policy.initial import FROZEN, write_initial
from foreact.recipes import RECIPES, get_recipe
from foreact.shards import ShardWriter, TensorFolder
from foreact.transformer.derivation import plan_derivation
from foreact.transformer.model import TransformerConfig

STEM = "model"
TRANSFORMER_FOLDER = "transformer"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
DISK_MARGIN = 1.01
"""Headers and index, beside the values."""
GB = 1e9


def init(preset: str, source: str, out: Path, dtype: str, shard_gb: float, seed: int) -> None:
    """See `foreact.cli.init`."""
    config = get_recipe(preset).transformer
    if not config.text_length:
        allowed = ", ".join(name for name, recipe in RECIPES.items() if recipe().transformer.text_length)
        raise ConfigurationError(
            "preset",
            got=f"{preset}, which is trained from nothing",
            allowed=allowed,
            cure="`foreact train` needs no init",
        )
    if not shard_gb > 0:
        raise ConfigurationError("shard_gb", got=shard_gb, allowed="above 0")
    folder = resolve(source)
    num_parameters = initialize_from(
        config, folder, out, dtype=getattr(torch, dtype), max_shard_bytes=int(shard_gb * GB), seed=seed
    )
    write_initial(out, config, folder, {"preset": preset, "source": source, "seed": seed, "dtype": dtype})
    console.print(f"{num_parameters / 1e9:.2f} B weights are in [bold]{out}[/].")
    if missing := [name for name in FROZEN if not (out / name).is_dir()]:
        console.print(f"The source has no {', '.join(missing)}: put them there before training.")
    console.print(f"Next: foreact train --recipe {preset} --initial {out} --vae {out / 'vae'} --data ... --out ...")


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
    _check_disk(out, num_parameters * dtype.itemsize)
    with progress_bar() as bar, ShardWriter(out, STEM, max_shard_bytes) as writer:
        shown = bar.add_task("writing weights", total=len(plan.shapes), figures="")
        for number, (name, tensor) in enumerate(plan.tensors(seed=seed), start=1):
            writer.add(name, tensor.to(dtype))
            bar.update(shown, completed=number)
    return num_parameters


def _check_disk(out: Path, needed: int) -> None:
    """Say what will be written, and refuse before the disk is full."""
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    free, needed = shutil.disk_usage(there).free, int(needed * DISK_MARGIN)
    if free < needed:
        raise CheckpointError(
            f"disk space for {out}",
            got=f"{free / GB:.3g} GB free",
            allowed=f"{needed / GB:.3g} GB or more",
            cure="free some space, choose another disk, or a smaller type of weights",
        )
    console.print(f"Writing {needed / GB:.3g} GB to [bold]{out}[/] ({free / GB:.3g} GB free).")
