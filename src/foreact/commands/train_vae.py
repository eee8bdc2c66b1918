"""`foreact train-vae`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from foreact.commands.datasets import Data, DataOptions, Robot, RobotOptions, open_vae
from foreact.commands.options import Machine, MachineOptions, named
from foreact.commands.progress import bold, console, plain, progress_bar
from foreact.data.clips import DatasetClips
from foreact.folders import only_writer
from foreact.recipes import RECIPES, get_recipe
from foreact.training.ranks import check_alone
from foreact.training.video_vae import train_video_vae
from foreact.training.video_vae_config import VideoVAETrainingConfig


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Train the small video VAE on the pictures of some datasets.

    Repeat the command after an interruption: it goes on where it stopped.

    Example: foreact train-vae --data data/reach_cube data/lift_cube --out runs/vae
    """

    data: tuple[Path, ...]
    """LeRobot datasets."""
    out: Path
    """Gets vae/ (diffusers layout), summary.json with the held-out PSNR, and the state to resume from."""
    recipe: Annotated[str, named(RECIPES)] = "tiny"
    """Says which cameras are seen, at what size and rate."""
    initial: Path | None = None
    """Folder of a video VAE of the same shape to start from."""
    training: Annotated[VideoVAETrainingConfig, tyro.conf.arg(name="")] = VideoVAETrainingConfig()
    """The network and its training, setting by setting."""
    robot: Robot = RobotOptions()
    reading: Data = DataOptions()
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Read the pictures, then train."""
    check_alone("a training of the video VAE")
    with only_writer(settings.out):
        _run(settings)
    summary = settings.out / "summary.json"
    console.print(f"The video VAE is in {bold(settings.out / 'vae')}; its held-out PSNR in {plain(summary)}.")


def _run(settings: Settings) -> None:
    device, robot = settings.machine.use(), settings.robot.of(get_recipe(settings.recipe))
    clips = DatasetClips(settings.reading.open(settings.data, robot), robot)
    with progress_bar() as bar:
        shown = bar.add_task("reading pictures", total=clips.num_episodes, figures="")
        for index in clips.load():
            bar.update(shown, completed=index + 1)
    initial = None if settings.initial is None else open_vae(settings.initial)
    train_video_vae(settings.training, clips, settings.out, device=device, initial=initial)
