"""Writes the pictures that a dream can begin with: how three episodes begin that no policy was trained on.

Example: python scripts/take_start_pictures.py
"""

import json
from pathlib import Path

from PIL import Image

from foreact.embodiments import load_embodiment
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.tasks import get_task

SEEDS = {"reach_cube": 1_000_001, "lift_cube": 1_000_003, "transfer_cube": 1_000_005}
FOLDER = Path(__file__).parents[1] / "src" / "foreact" / "viewing" / "starts"


def main() -> None:
    """Write a picture and a state a task."""
    FOLDER.mkdir(exist_ok=True)
    names = load_embodiment("aloha").dof_names
    for task, seed in SEEDS.items():
        env = BimanualEnv(task, cameras=("top",))
        env.reset(seed=seed)
        Image.fromarray(env.images()["top"]).save(FOLDER / f"{task}.png", optimize=True)
        state = {name: round(float(value), 4) for name, value in zip(names, env.state(), strict=True)}
        about = {"instruction": get_task(task).instruction, "state": state}
        (FOLDER / f"{task}.json").write_text(json.dumps(about, indent=1) + "\n")
        env.close()


if __name__ == "__main__":
    main()
