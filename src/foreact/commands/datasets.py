"""Settings of every command that reads datasets: whose robot they are of, and what their columns are called."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from foreact.codecs.video_vae import VideoVAE
from foreact.commands.progress import console
from foreact.data.episodes import EpisodeDataset
from foreact.data.mixture import Part, read_parts
from foreact.data.renaming import parse_renames, propose_renames
from foreact.embodiments import Embodiment
from foreact.errors import CheckpointError, DatasetError
from foreact.policy.storage.checkpoint import find_vae
from foreact.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How the datasets are read."""

    rename: tuple[str, ...] = ()
    """What columns and cameras of the datasets are called here: observation.image=top state=observation.state."""
    latents: Path | None = None
    """Folder of the latents; by default with each dataset, or in the user's cache where one may not write there."""

    def open(self, names: Iterable[Path], robot: Embodiment) -> list[EpisodeDataset]:
        """Return one robot's datasets, under the names that its file uses; of a mixture those of that robot.

        Args:
            names: Folders, names on the hub ("owner/name"), mixtures (`*.toml`).
            robot: Whose.

        Raises:
            DatasetError: A dataset cannot be had or read, or lacks a name, or none is of the robot.
        """
        parts = self.parts(names, robot)
        own = [part.dataset for part in parts if part.embodiment in (None, robot)]
        if parts and not own:
            got = ", ".join(sorted({part.embodiment.name for part in parts if part.embodiment}))
            raise DatasetError(
                f"datasets of the robot {robot.name!r}", got=f"a mixture of {got}", allowed="one or more"
            )
        return own

    def parts(self, names: Iterable[Path], robot: Embodiment) -> list[Part]:
        """Return all datasets, each under the names that its own robot's file uses.

        Args:
            names: Folders, names on the hub ("owner/name"), mixtures (`*.toml`).
            robot: Of those that name no other.

        Raises:
            DatasetError: A dataset cannot be had or read, or lacks a name.
        """
        found = read_parts(names)
        return [replace(part, dataset=self._renamed(part.dataset, part.embodiment or robot)) for part in found]

    def _renamed(self, dataset: EpisodeDataset, robot: Embodiment) -> EpisodeDataset:
        if dataset.renames:  # as the mixture says
            return dataset
        renames = parse_renames(self.rename)
        own = {name: new for name, new in renames.items() if name in dataset.features or len(renames) == 1}
        if own:
            return dataset.renamed(own)
        proposed = propose_renames(dataset.camera_keys, robot.cameras)
        for name, new in proposed.items():
            console.print(f"{dataset.root}: {name} is taken for the camera {new}.", markup=False)
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


def open_vae(name: Path) -> VideoVAE:
    """Return a video VAE: of its own folder, or of a policy, by folder or name.

    Raises:
        CheckpointError: There is neither, or it is damaged.
    """
    try:
        return VideoVAE.from_pretrained(find_vae(name))
    except CheckpointError as error:
        cure = "its folder (`foreact train-vae` makes one: OUT/vae), or a policy's name or folder for the one it has"
        raise CheckpointError(f"video VAE {name}", got=error, allowed=cure) from error


def fit_to_robot(recipe: Recipe, named: Recipe, spatial_factor: int) -> Recipe:
    """Return a recipe whose network fits another robot than the named recipe's: its cameras, canvas and actions.

    What was set by hand, so that it differs from the named recipe, is left as it is.

    Args:
        recipe: With the robot that was asked for.
        named: The recipe without changes.
        spatial_factor: Pixels that the video VAE makes one latent.
    """
    if recipe.embodiment == named.embodiment:
        return recipe
    if recipe.layout == named.layout:
        recipe = replace(recipe, layout=None)
    robot = recipe.robot()
    fitting = {
        "canvas": robot.layout.canvas_shape(spatial_factor),
        "actions_per_latent_frame": robot.timing.actions_per_latent_frame,
    }
    changed = {n: v for n, v in fitting.items() if getattr(recipe.transformer, n) == getattr(named.transformer, n)}
    return replace(recipe, transformer=replace(recipe.transformer, **changed))
