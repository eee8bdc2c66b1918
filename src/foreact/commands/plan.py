"""`foreact plan`."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from foreact.commands.cards import CardOptions, Cards, assumptions, cost_table, dollars, hours
from foreact.commands.describe_tables import human
from foreact.commands.progress import console
from foreact.cost.machine import Machine
from foreact.cost.proposal import Proposal, propose
from foreact.data.episodes import EpisodeDataset
from foreact.errors import ConfigurationError
from foreact.recipes import RECIPES
from foreact.settings import to_plain

CANDIDATES = ("wan5b-post", "wan5b-lora-48gb", "wan5b-lora-24gb", "small")
"""Recipes in the order in which one would want them."""
LATENT_BYTES = 4
"""Of one number of a latent, which stays in the memory of the CPU."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Propose the recipe that fits your GPUs, with its time, its price and the command to start.

    Example: foreact plan --gpu-memory 24 --gpus 1 --data data/lift_cube
    """

    data: tuple[Path, ...] = ()
    """LeRobot datasets to train on."""
    episodes: int | None = None
    """Instead of datasets: how many episodes there are."""
    hours: float | None = None
    """Instead of datasets: how many hours they last together."""
    json: bool = False
    """Print the proposals as JSON."""
    cards: Cards = CardOptions()


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much there is to learn from."""

    episodes: int
    hours: float


def run(settings: Settings) -> None:
    """Work out every candidate, and propose the first that fits."""
    amount, machine = _amount(settings), settings.cards.machine()
    proposals = list(propose({name: RECIPES[name]() for name in CANDIDATES}, machine))
    chosen = next((proposal for proposal in proposals if proposal.cost.fits), None)
    if settings.json:
        details = {"proposals": to_plain(proposals), "chosen": None if chosen is None else chosen.name}
        sys.stdout.write(json.dumps(details, indent=1) + "\n")
        return
    console.print(_overview(proposals))
    if chosen is None:
        least = min(proposal.cost.memory.total for proposal in proposals)
        raise ConfigurationError(
            f"memory of {machine.num_gpus} x {machine.card.name}",
            got=human(machine.card.memory_bytes, "B"),
            allowed=f"more: the smallest of these recipes needs {human(least, 'B')}",
            cure="the recipes called tiny train on two CPU cores",
        )
    console.print(f"\nProposed: [bold]{chosen.name}[/]", cost_table(chosen.recipe, chosen.cost, machine), sep="\n")
    if amount is not None:
        console.print(_data_line(chosen, amount))
    console.print(assumptions(machine), style="dim")
    console.print("\nTo start:")
    for command in commands(chosen, machine, settings.data):
        console.print(f"    {command}", markup=False, soft_wrap=True)


def commands(proposal: Proposal, machine: Machine, data: Sequence[Path]) -> list[str]:
    """Return the commands that lead to the proposed training, in order."""
    names = [str(path) for path in data] or ["DATA"]
    initial, vae, lines = [], "runs/vae/vae", []
    train = ["train", "--recipe", proposal.name]
    if proposal.recipe.transformer.text_length:
        initial, vae = ["--initial", "runs/init"], "runs/init/vae"
        lines.append("foreact init --preset wan5b --from Wan-AI/Wan2.2-TI2V-5B-Diffusers --out runs/init")
    else:
        lines.append(shlex.join(["foreact", "train-vae", "--data", *names, "--out", "runs/vae"]))
    lines.append(
        shlex.join(["foreact", "encode", "--recipe", proposal.name, "--data", *names, "--vae", vae, "--device", "cuda"])
    )
    train += [*initial, "--device", "cuda", "--data", *names, "--vae", vae, "--out", "runs/mine", *proposal.flags]
    start = ["foreact"]
    if machine.num_gpus > 1:
        start = ["torchrun", "--standalone", "--nproc-per-node", str(machine.num_gpus), "-m", "foreact"]
    return [*lines, shlex.join([*start, *train])]


def _amount(settings: Settings) -> Amount | None:
    given = (settings.episodes is not None, settings.hours is not None)
    if settings.data and any(given):
        raise ConfigurationError("--data next to --episodes or --hours", got="both", allowed="one of them")
    if any(given) and not all(given):
        raise ConfigurationError("--episodes and --hours", got="one of them", allowed="both, or neither")
    if settings.data:
        datasets = [EpisodeDataset(root) for root in settings.data]
        return Amount(
            episodes=sum(dataset.num_episodes for dataset in datasets),
            hours=sum(dataset.num_frames / dataset.fps for dataset in datasets) / 3600,
        )
    if settings.episodes is None or settings.hours is None:
        return None
    if settings.episodes < 1 or settings.hours <= 0:
        got = (settings.episodes, settings.hours)
        raise ConfigurationError("--episodes and --hours", got=got, allowed="1 or more, above 0")
    return Amount(episodes=settings.episodes, hours=settings.hours)


def _overview(proposals: Sequence[Proposal]) -> Table:
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(("recipe", "a card", "", "latent frames", "steps", "time", "price")):
        table.add_column(head, justify="right" if number in (1, 3, 4, 5, 6) else "left", no_wrap=True)
    for each in proposals:
        cost, recipe = each.cost, each.recipe
        fits = "fits" if cost.fits else "too much"
        steps, frames = str(recipe.optimization.num_steps), str(recipe.batch.max_frames)
        table.add_row(
            each.name, human(cost.memory.total, "B"), fits, frames, steps, hours(cost.hours), dollars(cost.dollars)
        )
    return table


def _data_line(proposal: Proposal, amount: Amount) -> str:
    recipe = proposal.recipe
    height, width = recipe.transformer.canvas
    numbers = recipe.transformer.latent_channels * height * width * recipe.robot().timing.latent_hz
    latents = 3600 * amount.hours * numbers * LATENT_BYTES
    draws = recipe.optimization.num_steps * recipe.batch.global_batch / amount.episodes
    return (
        f"{amount.episodes} episodes, {amount.hours:.3g} hours: each is drawn from {draws:.0f} times; their latents "
        f"take {human(latents, 'B')} of disk, and as much memory of the CPU in every process."
    )
