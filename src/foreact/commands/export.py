"""`foreact export`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from foreact.commands.progress import bold, console, plain
from foreact.policy.storage.export import Precision, export_policy


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Copy a policy for use elsewhere, its weights at another precision.

    Tensor by tensor: a policy larger than the memory passes through. The copy is a policy like any other.

    Example: foreact export runs/mine --out policies/mine
    """

    source: tyro.conf.Positional[Path]
    """Folder of a policy, or of the training run that it is in."""
    out: Path
    """Folder of the copy."""
    precision: Precision = "bfloat16"
    """Of the network's weights; stored: as they are. The video VAE stays as it is."""


def run(settings: Settings) -> None:
    """Copy the policy, and say how large it is."""
    export_policy(settings.source, settings.out, settings.precision)
    size = sum(path.stat().st_size for path in settings.out.rglob("*") if path.is_file())
    console.print(
        f"The policy is in {bold(settings.out)}, {size / 1e6:.1f} MB: foreact.load({plain(repr(str(settings.out)))})."
    )
