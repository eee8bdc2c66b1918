"""From an episode on disk to a training sequence in model units."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from foreact.data.batch import TrainingSequence
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.embodiments import ActionCodec, Embodiment
from foreact.errors import DatasetError

EXECUTED = "executed_action"
"""Column of what the robot was really told, where it differs from the demonstrator's `action`."""
NEVER_SET = 1000.0
"""Times as far from the median as the usual numbers are: what is beyond cannot be meant."""


@runtime_checkable
class EpisodeRows(Protocol):
    """What a sequence is made from: an `Episode`, or a window of one, as if it had begun there."""

    @property
    def length(self) -> int:
        """Rows."""
        ...

    @property
    def instruction(self) -> str:
        """The task in words."""
        ...

    def column(self, name: str) -> np.ndarray:
        """Return a numeric column [rows, entries]; of "observation.state" only the first row is used."""
        ...


def fit_codec(datasets: list[EpisodeDataset], embodiment: Embodiment) -> ActionCodec:
    """Return the action codec whose quantiles are those of all the datasets' actions.

    Raises:
        DatasetError: They hold no episodes, or an action so far from all others that it cannot be meant.
    """
    raw, episodes = [], []
    for dataset in datasets:
        for episode in dataset:
            raw.append(episode.column("action"))
            episodes.append((dataset, episode))
    if not raw:
        raise DatasetError("datasets to learn from", got="no episodes", allowed="at least one")
    if finding := find_glitch(raw):
        place, row, entry, value, usual = finding
        dataset, episode = episodes[place]
        raise DatasetError(
            f"action of episode {episode.number} of {dataset.root}, row {row}, {embodiment.dof_names[entry]!r}",
            got=f"{value:.6g}",
            allowed=f"a number like the others, {usual}",
            cure="a number that was never set: repair it, or take the episode out",
        )
    universal = [
        embodiment.to_universal(actions, _hold(episode, embodiment))
        for actions, (_, episode) in zip(raw, episodes, strict=True)
    ]
    return ActionCodec.fit(embodiment, np.concatenate(universal))


def find_glitch(parts: list[np.ndarray]) -> tuple[int, int, int, float, str] | None:
    """Return the first number that cannot be meant: so far from the usual ones that training would not survive it.

    Args:
        parts: [rows, entries] of each episode.

    Returns:
        Episode, row, entry, the number, and the usual range in words.
    """
    values = np.concatenate(parts).astype(np.float64)
    middle = np.median(values, axis=0)
    distance = np.abs(values - middle)
    # Some numbers are set apart before the usual ones are looked at: of few rows a quantile would be one of them.
    num_apart = max(min(3, len(values) // 4), len(values) // 500)
    usual = np.sort(distance, axis=0)[len(values) - num_apart - 1]
    allowed = np.where(usual > 0, NEVER_SET * usual, NEVER_SET * np.maximum(1.0, np.abs(middle)))
    rows, entries = np.nonzero(distance > allowed)
    if not len(rows):
        return None
    starts = np.cumsum([0, *map(len, parts)])
    place, entry = int(np.searchsorted(starts, rows[0], side="right") - 1), int(entries[0])
    details = f"from {middle[entry] - usual[entry]:.6g} to {middle[entry] + usual[entry]:.6g}"
    return place, int(rows[0] - starts[place]), entry, float(values[rows[0], entry]), details


def load_sequences(dataset: EpisodeDataset, cache: LatentCache, codec: ActionCodec) -> list[TrainingSequence]:
    """Return every episode of a dataset whose latents are cached.

    Raises:
        DatasetError: Latents are missing or damaged, or the dataset is.
    """
    executed = EXECUTED if EXECUTED in dataset.column_names else "action"
    return [
        replace(
            make_sequence(episode, cache.load(episode.index), codec, executed_column=executed),
            name=f"episode {episode.number} of {dataset.root}",
        )
        for episode in dataset
    ]


def make_sequence(
    episode: EpisodeRows, latents: torch.Tensor, codec: ActionCodec, *, executed_column: str = EXECUTED
) -> TrainingSequence:
    """Return one episode in model units, arranged by latent frame."""
    timing = codec.embodiment.timing
    per_frame = timing.actions_per_latent_frame
    num_frames = timing.latent_frames_in_episode(episode.length)
    hold = _hold(episode, codec.embodiment)
    rows = np.arange((num_frames - 1) * per_frame)
    clipped = np.minimum(rows, episode.length - 1)

    def by_frame(column: str) -> torch.Tensor:
        led = np.concatenate([np.repeat(hold[None], per_frame, axis=0), episode.column(column)[clipped]])
        return torch.from_numpy(codec.encode(led, hold)).unflatten(0, (num_frames, per_frame))

    valid = np.concatenate([np.ones(per_frame, dtype=bool), rows < episode.length])
    ends = np.arange(num_frames) * per_frame
    return TrainingSequence(
        latents=latents,
        actions=by_frame("action"),
        executed=by_frame(executed_column),
        action_valid=torch.from_numpy(valid).unflatten(0, (num_frames, per_frame)),
        frame_valid=torch.from_numpy(ends < episode.length),
        instruction=episode.instruction,
        channel_mask=torch.from_numpy(codec.mask.copy()),
    )


def _hold(episode: EpisodeRows, embodiment: Embodiment) -> np.ndarray:
    """Return the action that would have kept the robot where the episode found it."""
    return embodiment.hold_action(episode.column("observation.state")[0])
