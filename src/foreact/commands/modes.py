"""`foreact modes`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from foreact.commands.progress import console, progress_bar, use_device
from foreact.data.batch import TrainingSequence
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.data.sequences import load_sequences
from foreact.errors import ConfigurationError
from foreact.evaluation.modes import (
    ACTIONS,
    ACTIONS_IN,
    COMPARED,
    FORWARD,
    FORWARD_STILL,
    HELD,
    INVERSE,
    INVERSE_STILL,
    LATENTS,
    PIXELS,
    POLICY,
    VIDEO_ONLY,
    EpisodeErrors,
    Estimate,
    ask_chunks,
    check_answers_all,
    episode_errors,
    estimate,
    estimate_all,
)
from foreact.evaluation.modes_picture import draw_modes, liveliest_chunk
from foreact.files import write_whole
from foreact.policy.checkpoint import load
from foreact.policy.policy import Policy
from foreact.settings import to_plain

FIGURES_FILE, PICTURE_FILE = "modes.json", "modes.png"


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One held-out episode."""

    data: str
    """Its dataset's folder."""
    number: int
    """In the dataset."""
    sequence: TrainingSequence


def modes(
    policy_name: str, data: Iterable[Path], held_out: int, out: Path, seed: int, device: str, threads: int | None
) -> None:
    """See `foreact.cli.modes`."""
    if held_out < 1:
        raise ConfigurationError("held-out episodes of each dataset", got=held_out, allowed="1 or more")
    if out.exists() and not out.is_dir():
        raise ConfigurationError("folder for the results", got=f"the file {out}", cure="choose another name")
    policy = load(policy_name, device=use_device(device, threads))
    check_answers_all(policy)
    episodes = [episode for root in data for episode in _held_out(policy, root, held_out)]
    if len(episodes) < 2:
        raise ConfigurationError("held-out episodes", got=len(episodes), allowed="2 or more, or there is no interval")
    errors = _measure(policy, episodes, seed)
    out.mkdir(parents=True, exist_ok=True)
    estimates = estimate_all(errors)
    about = {
        "policy": policy_name,
        "weights": policy.digest(),
        "inference": to_plain(policy.config),
        "held_out": held_out,
        "seed": seed,
        "errors": {m: {who: to_plain(e) for who, e in by.items()} for m, by in estimates.items()},
        "differences": _differences(errors),
        "episodes": _singly(episodes, errors),
    }
    write_whole(out / FIGURES_FILE, (json.dumps(about, indent=1) + "\n").encode())
    _tell(errors, estimates)
    _draw(out / PICTURE_FILE, policy, episodes, seed)
    console.print(f"All figures: [bold]{out / FIGURES_FILE}[/]; one moment to look at: [bold]{out / PICTURE_FILE}[/].")


def _held_out(policy: Policy, root: Path, count: int) -> list[HeldOut]:
    dataset = EpisodeDataset(root)
    sequences = load_sequences(dataset, LatentCache(dataset, policy.networks.vae, policy.embodiment), policy.codec)
    numbered = list(enumerate(sequences))[-count:]
    return [HeldOut(data=str(root), number=number, sequence=sequence) for number, sequence in numbered]


def _measure(policy: Policy, episodes: list[HeldOut], seed: int) -> list[EpisodeErrors]:
    errors = []
    with progress_bar() as bar:
        shown = bar.add_task("asking", total=len(episodes), figures="episodes")
        for index, episode in enumerate(episodes):
            errors.append(episode_errors(policy, episode.sequence, seed=seed + index))
            bar.update(shown, completed=index + 1)
    return errors


def _draw(path: Path, policy: Policy, episodes: list[HeldOut], seed: int) -> None:
    """Draw the chunk in which most moves: it is chosen before anything is asked."""
    chunk = policy.config.latent_frames_per_chunk
    liveliest = [liveliest_chunk(episode.sequence, chunk) for episode in episodes]
    index = max(range(len(episodes)), key=lambda place: liveliest[place][0])
    sequence, now = episodes[index].sequence, liveliest[index][1]
    for answers in ask_chunks(policy, sequence, seed=seed + index):
        if answers.now == now:
            draw_modes(path, policy, sequence, answers)
            return


def _differences(errors: list[EpisodeErrors]) -> list[dict[str, Any]]:
    return [
        {"measure": measure, "of": who, "less": less, **to_plain(estimate(errors, measure, who, less))}
        for measure, who, less in COMPARED
    ]


def _singly(episodes: list[HeldOut], errors: list[EpisodeErrors]) -> list[dict[str, Any]]:
    return [
        {"data": episode.data, "episode": episode.number, **to_plain(error)}
        for episode, error in zip(episodes, errors, strict=True)
    ]


def _tell(errors: list[EpisodeErrors], estimates: dict[str, dict[str, Estimate]]) -> None:
    """Print the table, and what is decided by the differences."""
    units = {name: f"actions,\n{name.removeprefix(ACTIONS_IN)}" for name in estimates if name.startswith(ACTIONS_IN)}
    heads = {ACTIONS: "actions,\nmodel units", **units, LATENTS: "latent\ndistance", PIXELS: "PSNR,\ndB"}
    table = Table(box=None, pad_edge=False)
    table.add_column("asked", vertical="bottom", no_wrap=True)
    for head in heads.values():
        table.add_column(head, justify="right", vertical="bottom", no_wrap=True)
    for who in (POLICY, VIDEO_ONLY, FORWARD, FORWARD_STILL, INVERSE, INVERSE_STILL, HELD):
        cells = [_cell(estimates[measure].get(who), measure) for measure in heads]
        table.add_row(
            "last one held" if who == HELD else who,
            *cells,
            style="dim" if who in (HELD, FORWARD_STILL, INVERSE_STILL) else None,
        )
    console.print(table)
    for measure, more, less in COMPARED:
        console.print(_verdict(estimate(errors, measure, more, less), measure, more, less))
    console.print(
        f"Means over {len(errors)} held-out episodes, chunk by chunk from their real history, with 95 % "
        "intervals (bootstrap over episodes). PSNR: over pictures in which something moves; more is better.",
        style="dim",
    )


def _cell(figure: Estimate | None, measure: str) -> str:
    if figure is None:
        return ""
    digits = 1 if measure == PIXELS else 3
    return f"{figure.value:.{digits}f}\n{figure.low:.{digits}f} to {figure.high:.{digits}f}"


def _verdict(difference: Estimate, measure: str, more: str, less: str) -> str:
    name = {ACTIONS: "action error", LATENTS: "latent distance", PIXELS: "PSNR"}[measure]
    better = (difference.value > 0) == (measure == PIXELS)
    verdict = ("better" if better else "worse") if difference.is_decided else "not decided"
    digits = 2 if measure == PIXELS else 4
    figures = f"{difference.value:+.{digits}f} ({difference.low:+.{digits}f} to {difference.high:+.{digits}f})"
    return f"{name}, {more} less {less}: {figures}: [bold]{verdict}[/]"
