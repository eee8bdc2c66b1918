"""The figures of `foreact bench`, as a table for people and as plain data for programs."""

from dataclasses import asdict
from typing import Any

import torch
from rich.table import Table

from foreact.commands.progress import bold, console
from foreact.cost.accelerator import Accelerator
from foreact.cost.ceilings import peak_bytes
from foreact.cost.chunks import Timing
from foreact.cost.subject import Subject

STAGES = ("encode", "append", "imagine", "decode_actions")


def report(
    subject: Subject, timings: list[Timing], floors: list[dict[str, float]], ceilings: Accelerator, device: torch.device
) -> dict[str, Any]:
    """Return every figure as plain data; milliseconds, bytes, operations a second."""
    rows = [
        asdict(timing) | {"chunks_per_s": timing.chunks_per_s, "floor_ms": floor}
        for timing, floor in zip(timings, floors, strict=True)
    ]
    return {
        "name": subject.name,
        "layers": subject.transformer.num_layers,
        "device": str(device),
        "peak_bytes": peak_bytes(device),
        "inference": asdict(subject.inference),
        "ceilings": asdict(ceilings),
        "timings": rows,
    }


def print_report(
    subject: Subject, timings: list[Timing], floors: list[dict[str, float]], ceilings: Accelerator, device: torch.device
) -> None:
    """Print a table: one line for each length of history and number of sessions."""
    console.print(
        f"{bold(subject.name)}, {ceilings.name}: {ceilings.flops_per_s / 1e12:.3g} TFLOP/s in matrix "
        f"products, {ceilings.bytes_per_s / 1e9:.3g} GB/s in copies, measured now. Medians, milliseconds."
    )
    names = ("past", "n", "encode", "append", "imagine", "actions", "chunk", "±", "floor", "share", "chunks/s")
    table = Table(*names, box=None, padding=(0, 1, 0, 0))
    for timing, floor in zip(timings, floors, strict=True):
        least = sum(floor.values())
        table.add_row(
            str(timing.setting.history),
            str(timing.setting.sessions),
            *(f"{timing.stage_ms.get(stage, 0):.4g}" for stage in STAGES),
            f"{timing.chunk_ms:.4g}",
            f"{timing.spread_ms:.2g}",
            f"{least:.3g}" if floor else "",
            f"{least / timing.chunk_ms:.0%}" if floor else "",
            f"{timing.chunks_per_s:.3g}",
        )
    console.print(table)
    console.print(
        f"past: latent frames of history; n: sessions in the batch. Peak memory {peak_bytes(device) / 1e9:.2f} GB."
    )
