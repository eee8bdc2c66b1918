"""Settings that say which GPUs a training would have, and the table of what it would take on them."""

from dataclasses import dataclass, replace
from typing import Annotated

from rich.table import Table
from tyro.conf import OmitArgPrefixes

from foreact.commands.describe_tables import human
from foreact.commands.options import named
from foreact.cost.cards import CARDS, UTILIZATION, Card, get_card, smallest_card
from foreact.cost.machine import Machine, TrainingCost
from foreact.errors import ConfigurationError
from foreact.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class CardOptions:
    """Which GPUs there are, or might be rented. Times and prices are computed, not measured."""

    gpus: int | None = None
    """How many; they share one copy of the weights. 1 by default."""
    gpu: Annotated[str | None, named(CARDS)] = None
    """What kind."""
    gpu_memory: float | None = None
    """Memory of one, GB, instead of its kind; times are then those of the slowest known card with so much."""
    price: float | None = None
    """US dollars for one card and hour. By default an example from a table, which will not be what you pay."""
    utilization: float = UTILIZATION
    """Share of the data sheet's operations that training reaches. The default is an assumption."""

    @property
    def is_given(self) -> bool:
        """Whether any GPU was named."""
        return any(value is not None for value in (self.gpus, self.gpu, self.gpu_memory))

    def machine(self) -> Machine:
        """Return the machine.

        Raises:
            ConfigurationError: Neither kind nor memory of a card, or both, or a number that cannot be.
            UnknownNameError: There is no such card.
        """
        return Machine(
            card=self._card(),
            num_gpus=1 if self.gpus is None else self.gpus,
            price_per_hour=self.price,
            utilization=self.utilization,
        )

    def _card(self) -> Card:
        if (self.gpu is None) == (self.gpu_memory is None):
            got = "neither" if self.gpu is None else "both"
            raise ConfigurationError("--gpu and --gpu-memory", got=got, allowed="one of them")
        if self.gpu is not None:
            return get_card(self.gpu)
        assert self.gpu_memory is not None
        if self.gpu_memory <= 0:
            raise ConfigurationError("--gpu-memory", got=self.gpu_memory, allowed="above 0 GB")
        card = smallest_card(1e9 * self.gpu_memory)
        return replace(card, name=f"{self.gpu_memory:g} GB", memory_bytes=round(1e9 * self.gpu_memory))


Cards = OmitArgPrefixes[CardOptions]


def cost_table(recipe: Recipe, cost: TrainingCost, machine: Machine) -> Table:
    """Return what a training takes, line by line."""
    card, memory = machine.card, cost.memory
    parts = ((name, size) for name, size in vars(memory).items() if size)
    verdict = "fits" if cost.fits else "[bold red]too much[/]"
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify, table.title_style = (
        f"\nTo train on {machine.num_gpus} x {card.name}",
        "left",
        "bold",
    )
    table.add_row("memory", f"{human(memory.total, 'B')} of {human(card.memory_bytes, 'B')} a card: {verdict}")
    table.add_row("of it", ", ".join(f"{name} {human(size, 'B')}" for name, size in parts))
    table.add_row(
        "a step", f"{seconds(cost.step_s)}, {human(cost.tokens_per_step)} tokens, {human(cost.flops_per_step, 'FLOP')}"
    )
    table.add_row(
        f"{recipe.optimization.num_steps} steps",
        f"{hours(cost.hours)}, {dollars(cost.dollars)} at {machine.price:.2f} dollars a card and hour",
    )
    table.add_row(
        "disk", f"{human(cost.disk_bytes, 'B')} at most: states and policy, one more of each while it is written"
    )
    return table


def assumptions(machine: Machine) -> str:
    """Return the sentences that stand under every cost."""
    speed = f"{100 * machine.utilization:.0f} % of {machine.card.flops_per_s / 1e12:.0f} TFLOP/s"
    price = "The price is an example: --price." if machine.price_per_hour is None else ""
    return (
        f"Computed, not measured: {speed}, every sequence as long as the longest. Memory fits if a tenth of the card "
        f"is left free; of activations and the evaluation the larger counts. {price}"
    ).rstrip()


def seconds(value: float) -> str:
    """Return a time of a step: "8.4 s"."""
    return f"{value:.0f} s" if value >= 100 else f"{value:.1f} s" if value >= 1 else f"{1e3 * value:.0f} ms"


def hours(value: float) -> str:
    """Return a time of a training: "40 min", "7.0 h", "12 days"."""
    if value < 1.5:
        return f"{60 * value:.0f} min"
    return f"{value:.1f} h" if value < 72 else f"{value / 24:.0f} days"


def dollars(value: float) -> str:
    """Return an amount: "0.40 dollars", "140 dollars"."""
    return f"{value:.2f} dollars" if value < 10 else f"{value:,.0f} dollars"
