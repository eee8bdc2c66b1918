"""`foreact collect`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from foreact.commands.disturbing import DisturbanceOptions, Disturbing
from foreact.commands.options import named
from foreact.commands.progress import console, progress_bar
from foreact.embodiments import load_embodiment
from foreact.evaluation.demonstrations import CollectionConfig
from foreact.evaluation.demonstrations import collect as collect_episodes
from foreact.simulation.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Record an expert's successful episodes as a LeRobot v3.0 dataset.

    Repeat the command after an interruption: it goes on where it stopped.

    Example: foreact collect --task lift_cube --episodes 50 --out data/lift_cube

    In a world that surprises: foreact collect --task lift_cube --disturbance strong --out data/lift_cube_strong
    """

    task: Annotated[str, named(TASKS)]
    """What the expert does."""
    out: Path
    """Folder of the dataset."""
    episodes: int = 50
    """Episodes that the dataset shall hold."""
    seed: int = 0
    """First seed tried; failures are skipped."""
    image_size: int = 128
    """Height and width of the pictures, pixels."""
    noise_scale_rad: float = 0.02
    """Noise on what is executed, so that recoveries are recorded; labels stay clean."""
    cameras: tuple[str, ...] = ()
    """Which of the robot's cameras are recorded; all by default."""
    disturbing: Disturbing = DisturbanceOptions()


def run(settings: Settings) -> None:
    """Record until the dataset is complete."""
    config = CollectionConfig(
        task=settings.task,
        num_episodes=settings.episodes,
        seed=settings.seed,
        image_size=settings.image_size,
        noise_scale_rad=settings.noise_scale_rad,
        cameras=settings.cameras or None,
        disturbance=settings.disturbing.disturbance_of_episodes(),
    )
    with progress_bar() as bar:
        shown = bar.add_task(f"recording {config.task}", total=config.num_episodes, figures="")
        for count in collect_episodes(config, settings.out, load_embodiment("aloha")):
            bar.update(shown, completed=count)
        bar.update(shown, completed=config.num_episodes)
    console.print(f"{config.num_episodes} episodes of {config.task} are in [bold]{settings.out}[/] (LeRobot v3.0).")
