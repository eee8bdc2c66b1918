"""`foreact bench`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import matplotlib
import torch
from rich.console import Console
from rich.table import Table

from foreact.commands.progress import console, progress_bar, use_device
from foreact.description.accelerator import Accelerator, Cost
from foreact.description.passes import Past, chunk_cost
from foreact.description.subject import Subject, subject_of_policy, subject_of_recipe
from foreact.description.video_vae import describe_video_vae
from foreact.errors import ConfigurationError
from foreact.files import write_whole
from foreact.measurement.ceilings import floor_ms, measure_ceilings, peak_bytes
from foreact.measurement.chunks import Setting, Timing, time_chunks
from foreact.measurement.random_policy import random_policy
from foreact.policy.checkpoint import load_policy
from foreact.recipes import get_recipe

matplotlib.use("Agg")

from matplotlib import pyplot as plt

STAGES = ("encode", "append", "imagine", "decode_actions")


def bench(
    preset: str,
    policy: Path | None,
    histories: Sequence[float],
    sessions: Sequence[int],
    repeats: int,
    changes: Mapping[str, Any],
    layers: int | None,
    device: str,
    dtype: str,
    threads: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """See `foreact.cli.bench`."""
    chosen, precision = use_device(device, threads), getattr(torch, dtype)
    subject = subject_of_recipe(preset, get_recipe(preset)) if policy is None else subject_of_policy(policy)
    subject = replace(subject, inference=replace(subject.inference, **changes))
    if layers is not None:
        if policy is not None:
            raise ConfigurationError("layers", got=layers, allowed="only beside --preset: a policy has those it has")
        subject = replace(subject, transformer=replace(subject.transformer, num_layers=layers))
    settings = _settings(subject, histories, sessions)
    made = random_policy(subject, chosen, precision) if policy is None else load_policy(policy)
    ceilings = measure_ceilings(chosen, precision)
    timings: list[Timing] = []
    with progress_bar(Console(stderr=True)) as bar:
        shown = bar.add_task(f"timing {subject.name}", total=repeats, figures="")
        for done, so_far in time_chunks(made.with_config(subject.inference), settings, repeats):
            timings = so_far
            bar.update(shown, completed=done)
    floors = [_floors(subject, timing.setting, ceilings, precision) for timing in timings]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        report = _report(subject, timings, floors, ceilings, chosen)
        write_whole(out / "bench.json", (json.dumps(report, indent=1) + "\n").encode())
        _draw(out / "bench.png", subject, timings)
    if as_json:
        print(json.dumps(_report(subject, timings, floors, ceilings, chosen), indent=1))
        return
    _tell(subject, timings, floors, ceilings, chosen)
    if out is not None:
        console.print(f"Figures and a picture of them are in [bold]{out}[/].")


def _settings(subject: Subject, histories: Sequence[float], sessions: Sequence[int]) -> list[Setting]:
    if any(not 0 <= share <= 1 for share in histories):
        raise ConfigurationError("history", got=list(histories), allowed="shares of the window, 0 to 1")
    window = subject.inference.window
    alone = [Setting(history=round(share * window)) for share in histories]
    return alone + [Setting(history=window, sessions=count) for count in sessions if count != 1]


def _floors(subject: Subject, setting: Setting, ceilings: Accelerator, dtype: torch.dtype) -> dict[str, float]:
    """Return the floor of each stage for one session; nothing for more, whose weights are read once for all."""
    if setting.sessions != 1:
        return {}
    vae = describe_video_vae(subject.video_vae, subject.layout, subject.inference.latent_frames_per_chunk)
    past = Past(history_frames=setting.history, text_tokens=subject.text_tokens)
    cost = chunk_cost(subject.transformer, subject.inference, past, vae.encode)
    parts: dict[str, Cost] = {stage: getattr(cost, stage) for stage in STAGES}
    return {stage: floor_ms(part, ceilings, dtype) for stage, part in parts.items() if part.flops}


def _report(
    subject: Subject, timings: list[Timing], floors: list[dict[str, float]], ceilings: Accelerator, device: torch.device
) -> dict[str, Any]:
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


def _tell(
    subject: Subject, timings: list[Timing], floors: list[dict[str, float]], ceilings: Accelerator, device: torch.device
) -> None:
    console.print(
        f"[bold]{subject.name}[/], {ceilings.name}: {ceilings.flops_per_s / 1e12:.3g} TFLOP/s in matrix "
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


def _draw(path: Path, subject: Subject, timings: list[Timing]) -> None:
    alone = [timing for timing in timings if timing.setting.sessions == 1]
    figure, (by_history, by_sessions) = plt.subplots(1, 2, figsize=(10, 3.6))
    bottom = [0.0] * len(alone)
    names = [str(timing.setting.history) for timing in alone]
    for stage in STAGES:
        heights = [timing.stage_ms.get(stage, 0.0) for timing in alone]
        by_history.bar(names, heights, bottom=bottom, label=stage.replace("_", " "))
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    by_history.set(xlabel="latent frames of history", ylabel="milliseconds a chunk", title=f"{subject.name}: stages")
    by_history.margins(y=0.25)
    by_history.legend(fontsize=8, ncols=2, loc="upper left")
    full = [timing for timing in timings if timing.setting.history == subject.inference.window]
    full.sort(key=lambda timing: timing.setting.sessions)
    counts = [timing.setting.sessions for timing in full]
    by_sessions.plot(counts, [timing.chunks_per_s for timing in full], "o-")
    by_sessions.set(xlabel="sessions in a batch (full window)", ylabel="chunks a second, all together", xticks=counts)
    by_sessions.set_ylim(bottom=0)
    figure.tight_layout()
    write_whole(path, lambda target: figure.savefig(target, format="png", dpi=130))
    plt.close(figure)
