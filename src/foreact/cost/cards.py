"""GPUs to train on, by name: their memory, their speed on paper, and an example of what one costs to rent."""

import re
from dataclasses import dataclass

from foreact.errors import UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Card:
    """One GPU, by its data sheet."""

    name: str
    """As sold."""
    memory_bytes: int
    """As sold, in GB of 1e9 bytes, which is a little less than what the driver shows."""
    flops_per_s: float
    """Dense bfloat16 operations a second with float32 sums."""
    price_per_hour: float
    """US dollars to rent one for an hour: an example from 2025 to be replaced by your own price."""


CARDS = {
    "rtx4090": Card(name="RTX 4090", memory_bytes=24 * 10**9, flops_per_s=165e12, price_per_hour=0.40),
    "rtx5090": Card(name="RTX 5090", memory_bytes=32 * 10**9, flops_per_s=209e12, price_per_hour=0.65),
    "l40s": Card(name="L40S", memory_bytes=48 * 10**9, flops_per_s=362e12, price_per_hour=0.90),
    "rtx6000ada": Card(name="RTX 6000 Ada", memory_bytes=48 * 10**9, flops_per_s=364e12, price_per_hour=0.80),
    "a100": Card(name="A100 80 GB", memory_bytes=80 * 10**9, flops_per_s=312e12, price_per_hour=1.60),
    "h100": Card(name="H100 SXM", memory_bytes=80 * 10**9, flops_per_s=989e12, price_per_hour=2.50),
    "h200": Card(name="H200", memory_bytes=141 * 10**9, flops_per_s=989e12, price_per_hour=3.30),
    "b200": Card(name="B200", memory_bytes=180 * 10**9, flops_per_s=2250e12, price_per_hour=5.00),
}
USABLE = 0.9
"""Share of a card's memory to plan with: the rest is for the allocator and the CUDA context."""
UTILIZATION = 0.36
"""Share of the data sheet's operations that training is assumed to reach. An assumption, not a measurement."""


def get_card(name: str) -> Card:
    """Return the card of that name.

    Raises:
        UnknownNameError: There is none; those there are are listed.
    """
    if name not in CARDS:
        raise UnknownNameError("gpu", name, CARDS)
    return CARDS[name]


def card_of(device_name: str) -> Card | None:
    """Return the card that a CUDA device's name is of, such as "NVIDIA H100 80GB HBM3"; None if it is not known."""
    words = re.sub(r"[^a-z0-9]", "", device_name.lower())
    return next((card for name, card in CARDS.items() if name.removesuffix("ada") in words), None)


def smallest_card(memory_bytes: float) -> Card:
    """Return the slowest card with so much memory, for a time that is rather too long than too short."""
    fitting = [card for card in CARDS.values() if card.memory_bytes >= memory_bytes] or [CARDS["b200"]]
    return min(fitting, key=lambda card: card.flops_per_s)
