"""`foreact verify`."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from foreact.commands.progress import console, progress_bar, use_device
from foreact.errors import ConfigurationError
from foreact.policy.placement import Placement, Precision, Quantization
from foreact.policy.published import load_published
from foreact.policy.replay import Agreement, Recording, replay

DISAGREES = 1
"""Exit status when a tensor is further from the recording than is tolerated."""


def verify(
    folder: Path,
    tolerance: float,
    device: str,
    dtype: Precision,
    quantize: Quantization,
    threads: int | None,
    as_json: bool,
) -> None:
    """See `foreact.cli.verify`."""
    if not tolerance > 0:
        raise ConfigurationError("tolerance", got=tolerance, allowed="above 0")
    use_device(device, threads)
    recording = Recording(folder)
    settings = recording.settings
    placement = Placement(device=device, dtype=dtype, quantize=quantize)
    policy = load_published(folder, settings.codec, settings.inference, placement=placement)
    agreements: list[Agreement] = []
    with progress_bar(Console(stderr=True)) as bar:  # standard output is for the result alone
        shown = bar.add_task(f"replaying {folder}", total=None, figures="")
        for agreement in replay(recording, policy):
            agreements.append(agreement)
            bar.update(shown, completed=len(agreements), figures=agreement.name)
    worst = max(agreements, key=lambda agreement: agreement.relative_error)
    agrees = worst.relative_error <= tolerance
    if as_json:
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
