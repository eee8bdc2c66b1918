"""`foreact modes`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreact.commands.datasets import Data, DataOptions
from foreact.commands.modes_tables import print_report
from foreact.commands.options import Machine, MachineOptions, PolicyName
from foreact.commands.progress import bold, console, progress_bar
from foreact.data.batch import TrainingSequence
from foreact.data.latents import LatentCache
from foreact.data.sequences import load_sequences
from foreact.errors import ConfigurationError
from foreact.evaluation.modes import (
    COMPARED,
    EpisodeErrors,
    ask_chunks,
    check_answers_all,
    episode_errors,
    estimate,
    estimate_all,
)
from foreact.evaluation.modes_picture import draw_modes, liveliest_chunk
from foreact.files import write_whole
from foreact.folders import only_writer
from foreact.policy.loading import load
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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Ask one network four questions on held-out recorded episodes.

    Policy: video and actions from the history. Video only. Forward dynamics: the video that the recorded actions lead
    to. Inverse dynamics: the actions that lead through the recorded video. Says how good the answers are.

    Example: foreact modes --policy tiny --data data/lift_cube data/reach_cube --out outputs/modes
    """

    data: tuple[Path, ...]
    """LeRobot datasets, encoded by `foreact encode` with the policy's own video VAE."""
    out: Path
    """Gets modes.json and modes.png."""
    policy: PolicyName = "tiny"
    """Name of a shipped policy, or a folder; one that imagines and was trained for forward dynamics."""
    held_out: int = 5
    """Last episodes of each dataset that are measured; training holds out 5."""
    seed: int = 0
    """Of the noise."""
    reading: Data = DataOptions()
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Ask, then write, print and draw the errors."""
    held_out, out, seed = settings.held_out, settings.out, settings.seed
    if held_out < 1:
        raise ConfigurationError("held-out episodes of each dataset", got=held_out, allowed="1 or more")
    with only_writer(out):
        _run(settings, held_out, out, seed)


def _run(settings: Settings, held_out: int, out: Path, seed: int) -> None:
    policy = load(settings.policy, device=settings.machine.use())
    check_answers_all(policy)
    episodes = [episode for root in settings.data for episode in _held_out(policy, root, settings)]
    if len(episodes) < 2:
        raise ConfigurationError("held-out episodes", got=len(episodes), allowed="2 or more, or there is no interval")
    errors = _measure(policy, episodes, seed)
    estimates = estimate_all(errors)
    about = {
        "policy": settings.policy,
        "weights": policy.digest(),
        "inference": to_plain(policy.config),
        "held_out": held_out,
        "seed": seed,
        "errors": {m: {who: to_plain(e) for who, e in by.items()} for m, by in estimates.items()},
        "differences": _differences(errors),
        "episodes": _singly(episodes, errors),
    }
    write_whole(out / FIGURES_FILE, (json.dumps(about, indent=1) + "\n").encode())
    print_report(errors, estimates)
    _draw(out / PICTURE_FILE, policy, episodes, seed)
    console.print(f"All figures: {bold(out / FIGURES_FILE)}; one moment to look at: {bold(out / PICTURE_FILE)}.")


def _held_out(policy: Policy, root: Path, settings: Settings) -> list[HeldOut]:
    (dataset,) = settings.reading.open([root], policy.embodiment)
    cache = LatentCache(dataset, policy.networks.vae, policy.embodiment, elsewhere=settings.reading.latents)
    numbered = list(enumerate(load_sequences(dataset, cache, policy.codec)))[-settings.held_out :]
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
