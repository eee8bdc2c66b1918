"""The accelerator that floors are computed for, and what a piece of work needs of it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """How fast an accelerator multiplies and how fast it reads."""

    name: str
    """As sold."""
    flops_per_s: float
    """Bfloat16 operations a second, as measured on large matrix products; not the data sheet's."""
    bytes_per_s: float
    """Bytes a second between memory and processor, as measured."""


H100 = Accelerator(name="H100", flops_per_s=790e12, bytes_per_s=3.0e12)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What some work needs at least; costs can be added, and multiplied by a count."""

    flops: int
    """Operations of matrix products and attention; a multiplication and an addition are two. Norms, gates and rotary
    turns are left out."""
    num_bytes: int
    """Bytes moved at least, in bfloat16: weights once per pass, keys and values once. Activations are taken to stay on
    the chip."""
    floor_ms: float
    """The roofline's floor on `H100`: per pass the longer of computing and moving. Computed, not measured."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            flops=self.flops + other.flops,
            num_bytes=self.num_bytes + other.num_bytes,
            floor_ms=self.floor_ms + other.floor_ms,
        )

    def __mul__(self, count: int) -> "Cost":
        return Cost(flops=count * self.flops, num_bytes=count * self.num_bytes, floor_ms=count * self.floor_ms)


NOTHING = Cost(flops=0, num_bytes=0, floor_ms=0.0)


def cost_of(flops: int, num_bytes: int, accelerator: Accelerator = H100) -> Cost:
    """Return the cost of one pass, its floor the longer of computing and moving."""
    seconds = max(flops / accelerator.flops_per_s, num_bytes / accelerator.bytes_per_s)
    return Cost(flops=flops, num_bytes=num_bytes, floor_ms=1e3 * seconds)
