"""`foreact describe`: the figures of a description, as tables for people or as JSON."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from foreact.commands.cards import CardOptions, Cards, assumptions, cost_table
from foreact.commands.describe_tables import introduction, parameter_table, pass_table, run_table, training_table
from foreact.commands.options import Denoising, DenoisingOptions, named
from foreact.commands.progress import bold, console
from foreact.cost.describe import Description, describe
from foreact.cost.machine import Machine, TrainingCost, training_cost
from foreact.cost.subject import Subject, subject_of_policy, subject_of_recipe
from foreact.errors import ConfigurationError
from foreact.recipes import RECIPES, get_recipe
from foreact.settings import to_plain


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Say what a policy needs, without making it: weights, work, memory.

    Milliseconds are floors of one H100, computed and not measured. With GPUs named (--gpus 8 --gpu h100) it also says
    what a recipe's training takes on them: memory, hours, money.

    Example: foreact describe wan5b --window 30 --video-guidance 1
    """

    preset: Annotated[str, named(RECIPES, "DIR"), tyro.conf.Positional]
    """Name of a recipe, or the folder of a policy."""
    json: bool = False
    """Print every figure as JSON."""
    denoising: Denoising = DenoisingOptions()
    cards: Cards = CardOptions()


def run(settings: Settings) -> None:
    """Work the figures out and print them."""
    settings.denoising.check()
    subject = _subject(settings.preset)
    changes = settings.denoising.changes_to(subject.inference)
    machine = settings.cards.machine() if settings.cards.is_given else None
    description = describe(replace(subject, inference=replace(subject.inference, **changes)))
    cost = None if machine is None else _cost(settings.preset, description, machine)
    if settings.json:
        details = to_plain(description) | ({} if cost is None else {"cost": to_plain(cost)})
        sys.stdout.write(json.dumps(details, indent=1) + "\n")
        return
    console.print(bold(description.name), introduction(description), sep="\n")
    for table in (parameter_table, pass_table, run_table):
        console.print(table(description))
    if description.training is not None:
        console.print(training_table(description.training))
    accelerator = description.accelerator
    console.print(
        f"Floors are computed, not measured: {accelerator.flops_per_s / 1e12:.0f} TFLOP/s or "
        f"{accelerator.bytes_per_s / 1e12:.1f} TB/s, the slower in each pass; one {accelerator.name}, bfloat16. "
        "Recomputed: activation checkpointing. 1 GB is 1e9 bytes. More: --json.",
        style="dim",
    )
    if machine is not None and cost is not None:
        console.print(cost_table(get_recipe(settings.preset), cost, machine))
        console.print(assumptions(machine), style="dim")


def _cost(preset: str, description: Description, machine: Machine) -> TrainingCost:
    if Path(preset).is_dir():
        raise ConfigurationError("--gpus, --gpu", got=f"the policy {preset}", allowed="next to the name of a recipe")
    vae = description.video_vae.encoder_parameters + description.video_vae.decoder_parameters
    return training_cost(get_recipe(preset), description.network, machine, vae_parameters=vae)


def _subject(preset_or_folder: str) -> Subject:
    folder = Path(preset_or_folder)
    if folder.is_dir():
        return subject_of_policy(folder)
    return subject_of_recipe(preset_or_folder, get_recipe(preset_or_folder))
