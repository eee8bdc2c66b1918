"""Settings of every command that reads datasets: whose robot they are of, and what their columns are called."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from foreact.commands.progress import console
from foreact.data.episodes import EpisodeDataset
from foreact.data.renaming import parse_renames, propose_renames
from foreact.embodiments import Embodiment
from foreact.training.run import Recipe


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How the datasets are read."""

    rename: tuple[str, ...] = ()
    """What columns and cameras of the datasets are called here: observation.image=top state=observation.state."""
    latents: Path | None = None
    """Folder of the latents; by default with each dataset, or in the user's cache where one may not write there."""

    def open(self, roots: Iterable[Path], robot: Embodiment) -> list[EpisodeDataset]:
        """Return the datasets under the names that the robot's file uses.

        Raises:
            DatasetError: A dataset cannot be read, or lacks a name.
        """
        return [self._open(root, robot) for root in roots]

    def _open(self, root: Path, robot: Embodiment) -> EpisodeDataset:
        dataset = EpisodeDataset(root)
        renames = parse_renames(self.rename)
        own = {name: new for name, new in renames.items() if name in dataset.features or len(renames) == 1}
        if own:
            return dataset.renamed(own)
        proposed = propose_renames(dataset.camera_keys, robot.cameras)
        for name, new in proposed.items():
            console.print(f"{root}: {name} is taken for the camera {new}.", markup=False)
        return dataset.renamed(proposed) if proposed else dataset


Data = OmitArgPrefixes[DataOptions]


@dataclass(frozen=True, kw_only=True)
class RobotOptions:
    """Whose robot the datasets are of."""

    embodiment: str | None = None
    """Name of a robot, or its TOML file, which also says the cameras; by default the recipe's."""

    def of(self, recipe: Recipe) -> Embodiment:
        """Return the robot: the one that was named, with its own cameras, or the recipe's."""
        return self.apply(recipe).robot()

    def apply(self, recipe: Recipe) -> Recipe:
        """Return the recipe for the robot that was named."""
        return recipe if self.embodiment is None else replace(recipe, embodiment=self.embodiment, layout=None)


Robot = OmitArgPrefixes[RobotOptions]
