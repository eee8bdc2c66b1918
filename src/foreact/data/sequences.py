"""From an episode on disk to a training sequence in model units."""

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
        DatasetError: They hold no episodes.
    """
    universal = []
    for dataset in datasets:
        for episode in dataset:
            universal.append(embodiment.to_universal(episode.column("action"), _hold(episode, embodiment)))
    if not universal:
        raise DatasetError("datasets to learn from", got="no episodes", allowed="at least one")
    return ActionCodec.fit(embodiment, np.concatenate(universal))


def load_sequences(dataset: EpisodeDataset, cache: LatentCache, codec: ActionCodec) -> list[TrainingSequence]:
    """Return every episode of a dataset whose latents are cached.

    Raises:
        DatasetError: Latents are missing or damaged, or the dataset is.
    """
    executed = EXECUTED if EXECUTED in dataset.column_names else "action"
    return [make_sequence(episode, cache.load(episode.index), codec, executed_column=executed) for episode in dataset]


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
    )


def _hold(episode: EpisodeRows, embodiment: Embodiment) -> np.ndarray:
    """Return the action that would have kept the robot where the episode found it."""
    return embodiment.hold_action(episode.column("observation.state")[0])
