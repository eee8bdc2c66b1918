"""The pictures that ship for dreams to begin with: held-out starts of three tasks of our own scene."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from foreact.embodiments import Embodiment
from foreact.errors import UnknownNameError
from foreact.evaluation.first_pictures import read_picture
from foreact.evaluation.first_state import read_state
from foreact.viewing.dreaming import DreamStart

FOLDER = Path(str(files("foreact"))) / "viewing" / "starts"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))
CAMERA = "top"


def shipped_start(name: str, robot: Embodiment) -> DreamStart:
    """Return a shipped picture with the state and the instruction that belong to it.

    Args:
        name: One of `NAMES`.
        robot: Names the entries of the state.

    Raises:
        UnknownNameError: There is no such picture.
    """
    if name not in NAMES:
        raise UnknownNameError("picture to dream from", name, NAMES)
    about = json.loads((FOLDER / f"{name}.json").read_text())
    names = robot.state_names or robot.dof_names
    numbers = [str(about["state"][entry]) for entry in names]
    picture: np.ndarray = read_picture(FOLDER / f"{name}.png")
    return DreamStart(images={CAMERA: picture}, state=read_state(numbers, names), instruction=about["instruction"])
