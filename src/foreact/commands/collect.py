"""`foreact collect`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from foreact.commands.disturbing import DisturbanceOptions, Disturbing
from foreact.commands.options import named
from foreact.commands.progress import bold, console, progress_bar
from foreact.commands.worlds import WORLD_NAMES, name_world
from foreact.embodiments import load_embodiment
from foreact.environments.protocols import PROTOCOLS
from foreact.environments.registry import OWN, find
from foreact.errors import ConfigurationError
from foreact.evaluation.demonstrations import CollectionConfig
from foreact.evaluation.demonstrations import collect as collect_episodes
from foreact.evaluation.world_demonstrations import WorldCollectionConfig, collect_in_world
from foreact.simulation.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Record an expert's successful episodes as a LeRobot v3.0 dataset.

    Repeat the command after an interruption: it goes on where it stopped.

    Example: foreact collect --task lift_cube --episodes 50 --out data/lift_cube

    In another simulator: foreact collect --env metaworld/drawer-open-v3 --out data/drawer

    In a world that surprises: foreact collect --task lift_cube --disturbance strong --out data/lift_cube_strong
    """

    task: Annotated[str | None, named(TASKS, "TASK")] = None
    """What the expert does: one of our own tasks, or with --env one of its tasks."""
    out: Path
    """Folder of the dataset."""
    env: Annotated[str | None, named(WORLD_NAMES)] = None
    """The world by name, where it is not our own; it must have scripted experts."""
    protocol: Annotated[str | None, named(PROTOCOLS)] = None
    """How another world's pictures are rendered and turned; by default as the first of its own protocols says."""
    episodes: int = 50
    """Episodes that the dataset shall hold."""
    seed: int = 0
    """First seed tried; failures are skipped."""
    image_size: int = 128
    """Height and width of the pictures, pixels."""
    noise_scale_rad: float = 0.02
    """Noise on what is executed, so that recoveries are recorded; labels stay clean."""
    noise_scale: float | None = None
    """The same in another world, in the units of its robot's actions; 0 by default."""
    cameras: tuple[str, ...] = ()
    """Which of the robot's cameras are recorded; all by default."""
    disturbing: Disturbing = DisturbanceOptions()


def run(settings: Settings) -> None:
    """Record until the dataset is complete."""
    world = name_world(settings.env, settings.task)
    suite, task = find(world)
    with progress_bar() as bar:
        shown = bar.add_task(f"recording {world}", total=settings.episodes, figures="")
        for count in _collect_own(settings, task) if suite.name == OWN else _collect_elsewhere(settings, world):
            bar.update(shown, completed=count)
        bar.update(shown, completed=settings.episodes)
    console.print(f"{settings.episodes} episodes of {world} are in {bold(settings.out)} (LeRobot v3.0).")


def _collect_own(settings: Settings, task: str) -> Iterator[int]:
    if settings.noise_scale is not None or settings.protocol is not None:
        allowed = "neither: they are for other worlds"
        raise ConfigurationError("--noise-scale and --protocol in our own scene", got="given", allowed=allowed)
    config = CollectionConfig(
        task=task,
        num_episodes=settings.episodes,
        seed=settings.seed,
        image_size=settings.image_size,
        noise_scale_rad=settings.noise_scale_rad,
        cameras=settings.cameras or None,
        disturbance=settings.disturbing.disturbance_of_episodes(),
    )
    return collect_episodes(config, settings.out, load_embodiment("aloha"))


def _collect_elsewhere(settings: Settings, world: str) -> Iterator[int]:
    disturbance = settings.disturbing.disturbance_of_episodes()
    if not disturbance.is_none:
        raise ConfigurationError(f"disturbance in {world}", got=disturbance.describe(), allowed="none in this world")
    config = WorldCollectionConfig(
        world=world,
        num_episodes=settings.episodes,
        seed=settings.seed,
        image_size=settings.image_size,
        noise_scale=settings.noise_scale or 0.0,
        protocol=settings.protocol,
    )
    suite, _ = find(world)
    assert suite.robot is not None  # a suite with experts has a robot
    robot = load_embodiment(suite.robot)
    if settings.cameras:
        robot = replace(robot, layout=replace(robot.layout, kind="side_by_side", cameras=settings.cameras))
    return collect_in_world(config, settings.out, robot)
