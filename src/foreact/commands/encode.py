"""`foreact encode`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from foreact.codecs.video_vae import VideoVAE
from foreact.commands.datasets import Data, DataOptions, Robot, RobotOptions
from foreact.commands.options import Machine, MachineOptions, named
from foreact.commands.progress import console, progress_bar
from foreact.data.latents import LatentCache
from foreact.recipes import RECIPES, get_recipe
from foreact.training.ranks import check_alone


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Encode datasets into latents once, so that training reads no pictures.

    Repeat the command after an interruption: it goes on where it stopped.

    Example: foreact encode --data data/lift_cube --vae runs/vae/vae
    """

    data: tuple[Path, ...]
    """LeRobot datasets: folders, names on the hub (owner/name), or a mixture.toml."""
    vae: Path
    """Folder of the video VAE, diffusers layout."""
    recipe: Annotated[str, named(RECIPES)] = "tiny"
    """Says which cameras are seen, at what size and rate."""
    robot: Robot = RobotOptions()
    reading: Data = DataOptions()
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Encode the episodes that are not encoded yet."""
    check_alone("an encoding")
    embodiment = settings.robot.of(get_recipe(settings.recipe))
    parts = settings.reading.parts(settings.data, embodiment)
    codec = VideoVAE.from_pretrained(settings.vae).to(settings.machine.use())
    with progress_bar() as bar:
        for part in parts:
            dataset = part.dataset
            shown = bar.add_task(f"encoding {dataset.root}", total=dataset.num_episodes, figures="")
            cache = LatentCache(dataset, codec, part.embodiment or embodiment, elsewhere=settings.reading.latents)
            for index in cache.encode_missing():
                bar.update(shown, completed=index + 1)
            bar.update(shown, completed=dataset.num_episodes)
            console.print(f"The latents of {dataset.root} are in {cache.folder}.", markup=False)
