"""Training sequences, and batches of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from foreact.errors import DatasetError


@dataclass(frozen=True, kw_only=True)
class TrainingSequence:
    """One episode in model units, by latent frame. The first frame's actions are those that hold the robot still."""

    latents: Float[Tensor, "channels frames height width"]
    """Normalised latents of the cameras' canvas."""
    actions: Float[Tensor, "frames actions action_channels"]
    """What the demonstrator meant to do on the way to each latent frame: the target."""
    executed: Float[Tensor, "frames actions action_channels"]
    """What the robot was really told (disturbances included): the history."""
    action_valid: Bool[Tensor, "frames actions"]
    """False where the episode was over and the last action was repeated."""
    frame_valid: Bool[Tensor, " frames"]
    """False where the last image was repeated."""
    instruction: str
    channel_mask: Bool[Tensor, " action_channels"]
    """Action channels that its robot has; the others are zero."""
    name: str = ""
    """Which episode it is, for messages."""

    @property
    def num_frames(self) -> int:
        """Latent frames."""
        return self.latents.shape[1]

    @property
    def shape_of_frame(self) -> tuple[int, int, int]:
        """Rows and columns of a latent frame, and the actions that lead to it: what robots may differ in."""
        _, _, rows, columns = self.latents.shape
        return rows, columns, self.actions.shape[1]

    def fill_chunks(self, frames_per_chunk: int) -> "TrainingSequence":
        """Return the sequence lengthened to whole chunks (the first frame is one by itself).

        The last frame and its actions are repeated and count for nothing. What a frame sees within its chunk is
        then the same however long its neighbours in a batch are.
        """
        missing = -(self.num_frames - 1) % frames_per_chunk

        def repeat_last(values: Tensor, axis: int = 0) -> Tensor:
            last = values.narrow(axis, values.shape[axis] - 1, 1)
            return torch.cat([values, *[last] * missing], dim=axis)

        filled = [repeat_last(values) for values in (self.action_valid, self.frame_valid)]
        for values in filled:
            values[self.num_frames :] = False
        return replace(
            self,
            latents=repeat_last(self.latents, axis=1),
            actions=repeat_last(self.actions),
            executed=repeat_last(self.executed),
            action_valid=filled[0],
            frame_valid=filled[1],
        )

    def crop(self, start: int, num_frames: int) -> "TrainingSequence":
        """Return latent frames start .. start + num_frames - 1."""
        kept = slice(start, start + num_frames)
        return replace(
            self,
            latents=self.latents[:, kept],
            actions=self.actions[kept],
            executed=self.executed[kept],
            action_valid=self.action_valid[kept],
            frame_valid=self.frame_valid[kept],
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences of whole chunks, padded at the end to one length: padding is seen by nothing that counts."""

    latents: Float[Tensor, "batch channels frames height width"]
    actions: Float[Tensor, "batch frames actions action_channels"]
    executed: Float[Tensor, "batch frames actions action_channels"]
    action_valid: Bool[Tensor, "batch frames actions"]
    frame_valid: Bool[Tensor, "batch frames"]
    instructions: tuple[str, ...]
    channel_mask: Bool[Tensor, "batch action_channels"]

    @property
    def num_frames(self) -> int:
        """Latent frames, padding included."""
        return self.latents.shape[2]


def collate(sequences: list[TrainingSequence]) -> Batch:
    """Return the sequences, all of one shape of latent and of as many actions, padded with zeros to the longest."""
    longest = max(sequence.num_frames for sequence in sequences)

    def stack(name: str, axis: int) -> Tensor:
        padded = []
        for sequence in sequences:
            value = getattr(sequence, name)
            before_axis = [0, 0] * (value.ndim - 1 - axis)
            padded.append(F.pad(value, [*before_axis, 0, longest - value.shape[axis]]))
        return torch.stack(padded)

    return Batch(
        latents=stack("latents", 1),
        actions=stack("actions", 0),
        executed=stack("executed", 0),
        action_valid=stack("action_valid", 0),
        frame_valid=stack("frame_valid", 0),
        instructions=tuple(sequence.instruction for sequence in sequences),
        channel_mask=torch.stack([sequence.channel_mask for sequence in sequences]),
    )


class SequenceSampler:
    """Draws sequences, sources by their weights and a source's episodes uniformly.

    Stateless: what sample `index` of step `step` is depends on the seed alone, so a resumed run, or one on another
    number of devices, draws the same.
    """

    def __init__(
        self,
        sources: list[list[TrainingSequence]],
        *,
        max_frames: int,
        seed: int,
        weights: Sequence[float] | None = None,
    ):
        """Keep the sources.

        Args:
            sources: One list of sequences per dataset.
            max_frames: Longer sequences are cropped at random to this many latent frames.
            seed: Of all draws.
            weights: How often each source is drawn, relative to the others; None: all equally often.

        Raises:
            DatasetError: There is nothing to draw from.
        """
        if not sources or not all(sources):
            raise DatasetError("training data", got="a source without episodes", allowed="at least one episode each")
        self._sources = sources
        # Sources drawn equally often are drawn as they always were: old runs are resumed as they were begun.
        self._shares = None if weights is None or len(set(weights)) == 1 else np.array(weights) / sum(weights)
        self._max_frames = max_frames
        self._seed = seed

    def draw(self, step: int, index: int) -> TrainingSequence:
        """Return sample `index` of the global batch of `step`."""
        rng = np.random.default_rng([self._seed, step, index])
        if self._shares is None:
            source = self._sources[rng.integers(len(self._sources))]
        else:
            source = self._sources[rng.choice(len(self._sources), p=self._shares)]
        sequence = source[rng.integers(len(source))]
        surplus = sequence.num_frames - self._max_frames
        if surplus <= 0:
            return sequence
        return sequence.crop(int(rng.integers(surplus + 1)), self._max_frames)
