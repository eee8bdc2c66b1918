"""`foreact bench`."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from rich.console import Console

from foreact.commands.bench_report import STAGES, print_report, report
from foreact.commands.options import Denoising, DenoisingOptions, Machine, MachineOptions, named
from foreact.commands.progress import bold, console, progress_bar
from foreact.cost.accelerator import Accelerator, Cost
from foreact.cost.ceilings import floor_ms, measure_ceilings
from foreact.cost.chunks import Setting, Timing, time_chunks
from foreact.cost.passes import Past, chunk_cost
from foreact.cost.picture import draw_timings
from foreact.cost.random_policy import random_policy
from foreact.cost.subject import Subject, subject_of_policy, subject_of_recipe
from foreact.cost.video_vae import describe_video_vae
from foreact.errors import ConfigurationError
from foreact.files import write_whole
from foreact.folders import only_writer
from foreact.policy.loading import load_policy
from foreact.policy.storage.placement import Placement
from foreact.recipes import RECIPES, get_recipe


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Time a policy's chunks on this machine, stage by stage.

    By length of history, and by number of sessions in a batch. The floor next to each time is the longer of computing
    and moving at this machine's own ceilings, measured in the same run. A preset is timed with random weights, which
    take as long as trained ones.

    Example: foreact bench --preset tiny --threads 1 --out outputs/bench
    """

    preset: Annotated[str, named(RECIPES)] = "tiny"
    """Name of a recipe."""
    policy: Path | None = None
    """Folder of a policy, instead of a preset."""
    out: Path | None = None
    """Gets bench.json and bench.png."""
    json: bool = False
    """Print every figure as JSON."""
    history: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)
    """Shares of the window that are full before the first chunk."""
    sessions: tuple[int, ...] = (1, 2, 4, 8)
    """How many sessions go through the network together, with a full window."""
    repeats: int = 5
    """Chunks that count, per setting; settings alternate."""
    layers: int | None = None
    """Fewer layers of a preset, for machines that cannot hold it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of weights and arithmetic, for presets."""
    denoising: Denoising = DenoisingOptions()
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Time, then print, write and draw the figures."""
    with nullcontext() if settings.out is None else only_writer(settings.out):
        _run(settings)


def _run(settings: Settings) -> None:
    settings.denoising.check()
    device, precision = settings.machine.use(), getattr(torch, settings.dtype)
    subject = _subject(settings)
    timed = _settings(subject, settings.history, settings.sessions)
    if settings.policy is None:
        made = random_policy(subject, device, precision)
    else:
        made = load_policy(settings.policy, placement=Placement(device=str(device)))
    ceilings = measure_ceilings(device, precision)
    timings: list[Timing] = []
    with progress_bar(Console(stderr=True)) as bar:
        shown = bar.add_task(f"timing {subject.name}", total=settings.repeats, figures="")
        for done, so_far in time_chunks(made.with_config(subject.inference), timed, settings.repeats):
            timings = so_far
            bar.update(shown, completed=done)
    floors = [_floors(subject, timing.setting, ceilings, precision) for timing in timings]
    figures = report(subject, timings, floors, ceilings, device)
    if settings.out is not None:
        write_whole(settings.out / "bench.json", (json.dumps(figures, indent=1) + "\n").encode())
        draw_timings(settings.out / "bench.png", subject.name, subject.inference.window, STAGES, timings)
    if settings.json:
        print(json.dumps(figures, indent=1))
        return
    print_report(subject, timings, floors, ceilings, device)
    if settings.out is not None:
        console.print(f"Figures and a picture of them are in {bold(settings.out)}.")


def _subject(settings: Settings) -> Subject:
    if settings.policy is None:
        subject = subject_of_recipe(settings.preset, get_recipe(settings.preset))
    elif settings.layers is None:
        subject = subject_of_policy(settings.policy)
    else:
        raise ConfigurationError("layers", got=settings.layers, allowed="only with --preset: a policy has those it has")
    changes = settings.denoising.changes_to(subject.inference)
    subject = replace(subject, inference=replace(subject.inference, **changes))
    if settings.layers is None:
        return subject
    return replace(subject, transformer=replace(subject.transformer, num_layers=settings.layers))


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
