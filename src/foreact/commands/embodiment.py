"""`foreact embodiment`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from foreact.commands.progress import console
from foreact.data.episodes import EpisodeDataset
from foreact.data.mixture import find_dataset
from foreact.data.renaming import ACTION, CAMERA_PREFIX, STATE, parse_renames
from foreact.embodiments.proposal import Recorded, entry_names, propose, to_toml
from foreact.errors import ConfigurationError
from foreact.files import write_whole

MOST_EPISODES = 50
"""Episodes that are looked at."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Propose a robot's file from a dataset: names, units, grippers, cameras, rate.

    Read the file before you train: what could only be guessed is said on its top, and on the screen.

    Example: foreact embodiment data/my_task --out my_robot.toml
    """

    data: Annotated[Path, tyro.conf.Positional]
    """A LeRobot dataset."""
    out: Path
    """The file to write, for --embodiment of the other commands."""
    rename: tuple[str, ...] = ()
    """What columns and cameras of the dataset are called here: observation.image=top."""
    height: int = 128
    """Height of a camera's picture to the policy, pixels."""
    width: int = 128
    """Its width."""
    force: bool = False
    """Write over a file that is there."""


def run(settings: Settings) -> None:
    """Propose, say what is to be checked, and write the file."""
    if settings.out.exists() and not settings.force:
        raise ConfigurationError(f"file {settings.out}", got="one that exists", cure="choose another name, or --force")
    dataset = EpisodeDataset(find_dataset(settings.data), renames=parse_renames(settings.rename))
    robot, notes = propose(look_at(dataset), height=settings.height, width=settings.width)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(settings.out, to_toml(robot, notes).encode())
    for note in notes:
        console.print(f"check: {note}", markup=False)
    console.print(
        f"The robot {robot.name} is in {settings.out}: give it to the commands as --embodiment.", markup=False
    )


def look_at(dataset: EpisodeDataset) -> Recorded:
    """Return what a dataset says of its robot.

    Raises:
        DatasetError: It has no actions or states, or no episodes.
    """
    dataset.require(columns=[ACTION, STATE])
    step = max(1, dataset.num_episodes // MOST_EPISODES)
    episodes = [dataset.episode(n) for n in range(0, dataset.num_episodes, step)]
    return Recorded(
        robot_type=dataset.robot_type or "",
        fps=float(dataset.fps),
        action_names=entry_names(dataset.features[ACTION], "action"),
        state_names=entry_names(dataset.features[STATE], "state"),
        cameras=tuple(key.removeprefix(CAMERA_PREFIX) for key in dataset.camera_keys),
        actions=np.concatenate([e.column(ACTION) for e in episodes]).astype(np.float64),
        states=np.concatenate([e.column(STATE) for e in episodes]).astype(np.float64),
        first_rows=tuple(np.cumsum([0, *(e.length for e in episodes[:-1])]).tolist()),
    )
