"""Datasets become training sequences: of one robot, or of several that learn together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foreact.codecs.video_vae import VideoVAE
from foreact.data.batch import TrainingSequence
from foreact.data.episodes import Episode, EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.data.mixture import Part
from foreact.data.sequences import fit_codec, load_sequences
from foreact.embodiments import ActionCodec, Embodiment
from foreact.errors import DatasetError
from foreact.policy.instructions import kept
from foreact.training.recipe import Recipe
from foreact.training.validation import whole_chunks


@dataclass(frozen=True, kw_only=True)
class RobotData:
    """One of the robots that learn together: its units, what it is asked to do, and what it is judged by."""

    codec: ActionCodec
    held_out: list[TrainingSequence] = field(default_factory=list)
    instructions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short name of the robot."""
        return self.codec.embodiment.name


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Everything a run learns from and is judged by."""

    sources: list[list[TrainingSequence]]
    """Of each dataset, in its robot's model units, robot by robot."""
    weights: tuple[float, ...]
    """How often each source is drawn, relative to the others."""
    robots: tuple[RobotData, ...]
    """The recipe's own first, if any dataset is of it."""
    notes: tuple[str, ...] = ()
    """What was passed over, in words."""

    @property
    def held_out(self) -> list[TrainingSequence]:
        """Of the first robot."""
        return self.robots[0].held_out

    @property
    def codec(self) -> ActionCodec:
        """Of the first robot."""
        return self.robots[0].codec


def load_training_data(
    recipe: Recipe,
    datasets: Sequence[EpisodeDataset | Part],
    vae: VideoVAE,
    *,
    latents: Path | None = None,
    codec: ActionCodec | None = None,
) -> TrainingData:
    """Return the datasets in model units, their last episodes held out.

    Normalisation is fitted, for each robot by itself, to the episodes that are taken, those held out among them.
    Episodes that are over before the first action's latent frame teach nothing, and are passed over.

    Args:
        recipe: For the robot and what is held out.
        datasets: With their latents cached; of other robots than the recipe's as parts of a mixture.
        vae: They were encoded with it.
        latents: Folder of the latents, if not with the datasets.
        codec: The robot and its normalisation, where a policy already has one; None: the recipe's robot, and fitted.

    Raises:
        DatasetError: A dataset does not fit its robot, has no cached latents, or too few episodes, or two robots share
            a name.
    """
    own = recipe.robot() if codec is None else codec.embodiment
    parts = [
        _limited(part if isinstance(part, Part) else Part(dataset=part), recipe.num_episodes, recipe.num_held_out)
        for part in datasets
    ]
    groups = _by_robot(parts, own)
    trained: dict[str, list[TrainingSequence]] = {name: [] for name in groups}
    held_out: dict[str, list[TrainingSequence]] = {name: [] for name in groups}
    codecs, sources, notes = {}, [], []
    for name, (robot, of_robot) in groups.items():
        given = codec is not None and robot == own
        codecs[name] = codec if given else fit_codec([part.dataset for part in of_robot], robot)
        for part in of_robot:
            cache = LatentCache(part.dataset, vae, robot, elsewhere=latents)
            every = load_sequences(part.dataset, cache, codecs[name])
            notes += [f"passed over, too short: {sequence.name}" for sequence in every if sequence.num_frames < 2]
            sequences, last = _split(every, part.dataset, recipe.num_held_out)
            sources.append(sequences)
            trained[name] += sequences
            held_out[name] += last
        chunk = recipe.inference.latent_frames_per_chunk
        if not any(True for sequence in held_out[name] for _ in whole_chunks(sequence, chunk)):
            whose = f" of {name}" if len(groups) > 1 else ""
            notes.append(
                f"nothing to judge by: no held-out episode{whose} is as long as a chunk of {chunk} latent frames"
            )
    return TrainingData(
        sources=sources,
        weights=tuple(part.weight for _, of_robot in groups.values() for part in of_robot),
        robots=tuple(
            RobotData(
                codec=codecs[name],
                held_out=held_out[name],
                instructions=kept(sequence.instruction for sequence in trained[name]),
            )
            for name in groups
        ),
        notes=tuple(notes),
    )


def _by_robot(parts: list[Part], own: Embodiment) -> dict[str, tuple[Embodiment, list[Part]]]:
    """Return the parts of each robot by its name: the recipe's own first, since its policy is the one in `policy/`."""
    groups: dict[str, tuple[Embodiment, list[Part]]] = {}
    for part in sorted(parts, key=lambda part: part.embodiment not in (None, own)):
        robot = part.embodiment or own
        known, of_robot = groups.setdefault(robot.name, (robot, []))
        if known != robot:
            raise DatasetError(
                f"robot {robot.name!r} of {part.dataset.root}",
                got="other cameras, rates or actions than those of another dataset's robot of that name",
                allowed="one robot a name",
                cure="give one of them another name in its file",
            )
        of_robot.append(part)
    return groups


def _split(
    sequences: list[TrainingSequence], dataset: EpisodeDataset, num_held_out: int
) -> tuple[list[TrainingSequence], list[TrainingSequence]]:
    """Return what is trained on, and the last ones, which are held out."""
    long_enough = [sequence for sequence in sequences if sequence.num_frames > 1]
    if len(long_enough) <= num_held_out:
        raise DatasetError(
            f"episodes in {dataset.root}",
            got=len(long_enough),
            allowed=f"more than the {num_held_out} that are held out",
        )
    cut = len(long_enough) - num_held_out
    return long_enough[:cut], long_enough[cut:]


def _limited(part: Part, num_episodes: int | None, num_held_out: int) -> Part:
    """Return a part whose dataset goes through the wanted episodes alone."""
    num_first = num_episodes if part.num_episodes is None else part.num_episodes
    return part if num_first is None else replace(part, dataset=_Ends(part.dataset, num_first, num_held_out))


class _Ends(EpisodeDataset):
    """Goes through the first and the last episodes of a dataset, under their own numbers, and leaves out the others."""

    def __init__(self, dataset: EpisodeDataset, num_first: int, num_last: int):
        super().__init__(dataset.root, renames=dataset.renames)
        if num_first + num_last > self.num_episodes:
            raise DatasetError(
                f"episodes in {dataset.root}",
                got=self.num_episodes,
                allowed=f"{num_first} to train on and {num_last} to hold out, or more",
            )
        self._numbers = [*range(num_first), *range(self.num_episodes - num_last, self.num_episodes)]

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Episode]:
        return (self.episode(number) for number in self._numbers)
