"""`foreact verify`."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from foreact.commands.options import Machine, MachineOptions
from foreact.commands.progress import console, progress_bar
from foreact.errors import ConfigurationError
from foreact.policy.loading import load_published
from foreact.policy.replay import Agreement, Recording, replay
from foreact.policy.storage.placement import Placement, Precision, Quantization

DISAGREES = 1
"""Exit status when a tensor is further from the recording than is tolerated."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Replay a recording of the published program, tensor by tensor.

    Says how far every tensor of ours is from the recorded one. Exits with 1 if one is further off than the tolerance.

    Example: foreact verify tests/golden/side_by_side
    """

    folder: tyro.conf.Positional[Path]
    """Weights in the published layout (transformer/ vae/ text_encoder/ tokenizer/) with the recording, trace.json and
    trace.safetensors."""
    tolerance: float = 1e-4
    """Largest relative error allowed, norm(ours - recorded) / norm(recorded)."""
    dtype: Precision = "stored"
    """Of weights and arithmetic; the recordings were made in float32."""
    quantize: Quantization = "none"
    """Hold the transformer's matrices in 8 bits, to see what error that causes."""
    json: bool = False
    """Print the errors as JSON."""
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Replay, and print how far each tensor is off."""
    folder, tolerance = settings.folder, settings.tolerance
    if not tolerance > 0:
        raise ConfigurationError("tolerance", got=tolerance, allowed="above 0")
    recording = Recording(folder)
    recorded = recording.settings
    device = str(settings.machine.use())
    placement = Placement(device=device, dtype=settings.dtype, quantize=settings.quantize)
    policy = load_published(folder, recorded.codec, recorded.inference, placement=placement)
    agreements: list[Agreement] = []
    with progress_bar(Console(stderr=True)) as bar:  # standard output is for the result alone
        shown = bar.add_task(f"replaying {folder}", total=None, figures="")
        for agreement in replay(recording, policy):
            agreements.append(agreement)
            bar.update(shown, completed=len(agreements), figures=agreement.name)
    worst = max(agreements, key=lambda agreement: agreement.relative_error)
    agrees = worst.relative_error <= tolerance
    if settings.json:
        errors = {agreement.name: agreement.relative_error for agreement in agreements}
        print(json.dumps({"agrees": agrees, "tolerance": tolerance, "worst": worst.name, "errors": errors}, indent=1))
    else:
        console.print(_table(agreements, tolerance))
        verdict = "[green]agrees[/]" if agrees else "[bold red]disagrees[/]"
        console.print(
            f"{folder} {verdict}: the worst of {len(agreements)} tensors, {worst.name}, is off by "
            f"{worst.relative_error:.1e} (tolerance {tolerance:.0e})."
        )
    if not agrees:
        raise SystemExit(DISAGREES)


def _table(agreements: list[Agreement], tolerance: float) -> Table:
    table = Table("tensor", "relative error", box=None)
    for agreement in agreements:
        colour = "green" if agreement.relative_error <= tolerance else "bold red"
        table.add_row(agreement.name, f"[{colour}]{agreement.relative_error:.1e}[/]")
    return table
