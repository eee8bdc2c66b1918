"""A dream on disk: film, strip of stills, actions as numbers and as a figure, and how it was made."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from foreact.errors import ConfigurationError
from foreact.evaluation.dream import Dream
from foreact.evaluation.dream_pictures import write_dream_film, write_strip
from foreact.evaluation.figures import draw_dreamed_actions
from foreact.files import write_whole
from foreact.policy.policy import Policy
from foreact.settings import to_plain

FILM_FILE = "imagined.mp4"
STRIP_FILE = "strip.png"
ACTIONS_FILE = "actions.csv"
FIGURE_FILE = "actions.png"
ABOUT_FILE = "imagined.json"


def write_dream(folder: Path, dream: Dream, about: dict[str, Any]) -> list[Path]:
    """Write everything into a folder, made if missing; return the files. Each is whole or not there; `about` is last.

    Raises:
        ConfigurationError: It cannot be written there.
    """
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_dream_film(folder / FILM_FILE, dream)
        write_strip(folder / STRIP_FILE, dream)
        write_whole(folder / ACTIONS_FILE, actions_table(dream).encode())
        draw_dreamed_actions(folder / FIGURE_FILE, dream)
        write_whole(folder / ABOUT_FILE, text.encode())
    except OSError as error:
        raise ConfigurationError(
            f"writing to {folder}", got=error, cure="choose another folder, or free some space"
        ) from error
    return [folder / name for name in (FILM_FILE, STRIP_FILE, FIGURE_FILE, ACTIONS_FILE, ABOUT_FILE)]


def actions_table(dream: Dream) -> str:
    """Return the actions as CSV: `time_s`, then each degree of freedom with its unit; to the last bit of float32."""
    robot, text = dream.embodiment, io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["time_s", *(f"{dof.name} ({dof.unit})" if dof.unit else dof.name for dof in robot.dofs)])
    for step, action in enumerate(dream.actions):
        table.writerow([f"{step / robot.timing.action_hz:.6g}", *map(str, action)])
    return text.getvalue()


def describe_dream(policy: Policy, dream: Dream) -> dict[str, Any]:
    """Return how a dream came about, as plain data."""
    robot = policy.embodiment
    names = robot.state_names or robot.dof_names
    return {
        **to_plain(dream.config),
        "robot": robot.name,
        "weights": policy.digest(),
        "inference": to_plain(policy.config),
        # By way of text: float32 as people wrote it, 0.05 rather than 0.05000000074505806.
        "state": {name: float(str(value)) for name, value in zip(names, dream.state, strict=True)},
        "action_hz": robot.timing.action_hz,
        "camera_hz": robot.timing.camera_hz,
        "num_actions": len(dream.actions),
        "num_frames": len(dream.pictures),
        "chunks": [
            {
                "num_actions": len(chunk.actions),
                "num_frames": len(next(iter(chunk.frames.values()))),
                "stage_ms": {name: round(spent, 3) for name, spent in chunk.stage_ms.items()},
            }
            for chunk in dream.chunks
        ],
    }
