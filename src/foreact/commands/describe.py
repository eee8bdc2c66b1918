"""`foreact describe`: the figures of a description, as tables for people or as JSON."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from foreact.commands.describe_tables import introduction, parameter_table, pass_table, run_table, training_table
from foreact.commands.options import Denoising, DenoisingOptions, named
from foreact.commands.progress import console
from foreact.cost.describe import describe
from foreact.cost.subject import Subject, subject_of_policy, subject_of_recipe
from foreact.recipes import RECIPES, get_recipe
from foreact.settings import to_plain


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Say what a policy needs, without making it: weights, work, memory.

    Milliseconds are floors of one H100, computed and not measured.

    Example: foreact describe wan5b --window 30 --video-guidance 1
    """

    preset: Annotated[str, named(RECIPES, "DIR"), tyro.conf.Positional]
    """Name of a recipe, or the folder of a policy."""
    json: bool = False
    """Print every figure as JSON."""
    denoising: Denoising = DenoisingOptions()


def run(settings: Settings) -> None:
    """Work the figures out and print them."""
    settings.denoising.check()
    subject = _subject(settings.preset)
    changes = settings.denoising.changes_to(subject.inference)
    description = describe(replace(subject, inference=replace(subject.inference, **changes)))
    if settings.json:
        sys.stdout.write(json.dumps(to_plain(description), indent=1) + "\n")
        return
    console.print(f"[bold]{description.name}[/]", introduction(description), sep="\n")
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


def _subject(preset_or_folder: str) -> Subject:
    folder = Path(preset_or_folder)
    if folder.is_dir():
        return subject_of_policy(folder)
    return subject_of_recipe(preset_or_folder, get_recipe(preset_or_folder))
