"""`foreact encode`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from foreact.commands.datasets import Data, DataOptions, Robot, RobotOptions, open_vae
from foreact.commands.options import Machine, MachineOptions, named
from foreact.commands.progress import console, progress_bar
from foreact.data.latents import LatentCache
from foreact.recipes import RECIPES, get_recipe
from foreact.training.ranks import first_process, process_number, world_size


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Encode datasets into latents once, so that training reads no pictures.

    Repeat the command after an interruption: it goes on where it stopped. On several GPUs start it by torchrun: each
    process encodes its share of the episodes, for example torchrun --nproc-per-node 8 -m foreact encode --data ...

    Example: foreact encode --data data/lift_cube --vae runs/vae/vae
    """

    data: tuple[Path, ...]
    """LeRobot datasets: folders, names on the hub (owner/name), or a mixture.toml."""
    vae: Path
    """The video VAE: its folder, or a policy's name or folder for the one it has."""
    recipe: Annotated[str, named(RECIPES)] = "tiny"
    """Says which cameras are seen, at what size and rate."""
    robot: Robot = RobotOptions()
    reading: Data = DataOptions()
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Encode this process's share of the episodes that are not encoded yet; the first process says how far it is."""
    console.quiet = not first_process()
    embodiment = settings.robot.of(get_recipe(settings.recipe))
    parts = settings.reading.parts(settings.data, embodiment)
    codec = open_vae(settings.vae).to(settings.machine.use())
    with progress_bar() as bar:
        for part in parts:
            dataset = part.dataset
            shown = bar.add_task(f"encoding {dataset.root}", total=dataset.num_episodes, figures="")
            cache = LatentCache(dataset, codec, part.embodiment or embodiment, elsewhere=settings.reading.latents)
            for index in cache.encode_missing(first=process_number(), step=world_size()):
                bar.update(shown, completed=index + 1)
            bar.update(shown, completed=dataset.num_episodes)
            console.print(f"The latents of {dataset.root} are in {cache.folder}.", markup=False)
