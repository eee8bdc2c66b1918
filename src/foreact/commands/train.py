"""`foreact train`."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from foreact.commands.datasets import Data, DataOptions, fit_to_robot, open_vae
from foreact.commands.options import Machine, MachineOptions, named
from foreact.commands.parsing import value_of
from foreact.commands.progress import bold, console, plain
from foreact.commands.train_progress import show
from foreact.cost.cards import card_of
from foreact.cost.machine import Machine as Cards
from foreact.cost.machine import training_cost
from foreact.cost.parameters import count_network
from foreact.errors import ConfigurationError
from foreact.recipes import RECIPES, get_recipe
from foreact.training.ranks import first_process, world_size
from foreact.training.recipe import Recipe
from foreact.training.run import POLICY_FOLDER, train

DEFAULT = "tiny"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Train a policy on encoded datasets.

    Repeat the command after an interruption: it goes on exactly where it stopped. Every setting of the recipe can be
    changed, for example --optimization.num-steps 500. On several GPUs start it by torchrun: each holds a part of the
    weights, for example torchrun --standalone --nproc-per-node 8 -m foreact train --device cuda ...

    Example: foreact train --recipe tiny --data data/lift_cube --vae runs/vae/vae --out runs/tiny
    """

    data: tuple[Path, ...]
    """LeRobot datasets, encoded by `foreact encode`: folders, names on the hub (owner/name), or a mixture.toml of
    datasets with weights and robots."""
    vae: Path
    """The video VAE they were encoded with: its folder, or a policy's name or folder."""
    out: Path
    """Gets policy/ (what foreact.load takes), recipe.json, log.jsonl, tensorboard/, and its state; where several robots
    learn together, policies/NAME/ for each of the others."""
    recipe: Annotated[str, named(RECIPES)] = DEFAULT
    """Named settings; those below change single ones."""
    initial: Path | None = None
    """Weights to begin with: a policy to go on from, or what `foreact init` made, which full-size recipes need."""
    reading: Data = DataOptions()
    machine: Machine = MachineOptions()
    training: Annotated[Recipe, tyro.conf.arg(name="")]
    """The recipe, setting by setting."""


def defaults(words: Sequence[str], from_file: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe's settings, which are the defaults of all flags that change single ones.

    Raises:
        UnknownNameError: There is no such recipe.
        ConfigurationError: Flag and settings file name different recipes, so that it is open whose settings count.
    """
    flag, kept = value_of("--recipe", words), from_file.get("recipe")
    if "training" in from_file and flag not in (None, kept):
        cure = "leave out --recipe, or take the entry `training` out of the file"
        raise ConfigurationError("--recipe", got=flag, allowed=f"the file's own, {kept}", cure=cure)
    return {"training": get_recipe(flag or kept or DEFAULT)}


@contextmanager
def _terminated() -> Iterator[list[int]]:
    """Collect SIGTERMs instead of dying of them: the step under way is finished and saved (clusters send one first)."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _speeds(recipe: Recipe, device: torch.device) -> tuple[float, float]:
    """Return operations of a training step by tokens, and a second of all devices; 0 where they are not known."""
    card = card_of(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    if card is None:
        return 0.0, 0.0
    world = world_size()
    cost = training_cost(recipe, count_network(recipe.transformer), Cards(card=card, num_gpus=world))
    return cost.flops_per_step / cost.tokens_per_step, world * card.flops_per_s


def run(settings: Settings) -> None:
    """Train, showing the loss of every step."""
    console.quiet = not first_process()
    device, vae = settings.machine.use(), open_vae(settings.vae)
    recipe = fit_to_robot(settings.training, get_recipe(settings.recipe), vae.spatial_factor)
    datasets = settings.reading.parts(settings.data, recipe.robot())
    with _terminated() as terminated:
        steps = train(
            recipe,
            datasets,
            vae,
            settings.out,
            initial=settings.initial,
            latents=settings.reading.latents,
            device=device,
            should_stop=lambda: bool(terminated),
        )
        show(steps, console, *_speeds(recipe, device))
    policy = settings.out / POLICY_FOLDER
    if terminated:
        console.print(f"Stopped by SIGTERM. All is saved in {settings.out}: repeat the command to go on.", markup=False)
        raise SystemExit(128 + signal.SIGTERM)
    console.print(f"The policy is in {bold(policy)}: foreact.load({plain(repr(str(policy)))}).")
