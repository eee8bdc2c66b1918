"""How far are the actions they predict from the demonstrator's? On episodes they learned from, and on those held out.

    python experiments/others_policies/open_loop.py

To be run by the Python of the environment that LeRobot is in, after train.py. Chunks begin every 64 steps; the measure
is the mean absolute difference over all joints, beside that of standing still.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from contestants import CHUNK, CONTESTANTS, HELD_OUT, LAYOUT, RUN, TASKS, last_saved
from evaluate import load
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from pictures import ACTION, IMAGES, STATE


def error(predict, dataset: LeRobotDataset, episodes: range) -> tuple[float, float]:
    """Return the mean absolute difference from the demonstrator, and that of standing still."""
    numbers, actions = (np.array(dataset.hf_dataset[name]) for name in ("episode_index", ACTION))
    found = []
    for episode in episodes:
        for start in np.flatnonzero(numbers == episode)[:-CHUNK:CHUNK]:
            row = dataset[int(start)]
            seen = {name.removeprefix(IMAGES): value for name, value in row.items() if name.startswith(IMAGES)}
            images = {name: (value.permute(1, 2, 0) * 255).round().byte().numpy() for name, value in seen.items()}
            meant, state = actions[start : start + CHUNK], row[STATE].numpy()
            found.append([np.abs(answer - meant).mean() for answer in (predict(images, state), state)])
    mine, still = np.mean(found, axis=0)
    return float(mine), float(still)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("outputs/others"), help="what train.py wrote")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for task in TASKS:
        for name in CONTESTANTS:
            saved = last_saved(given.out / f"{name}-{task}" / RUN)
            if not saved.exists():
                continue
            root = given.out / "demonstrations" / f"{task}-{LAYOUT.width}x{LAYOUT.height}"
            dataset, (predict, _) = LeRobotDataset(f"local/{root.name}", root=root), load(saved)
            total = dataset.num_episodes
            for kind, episodes in (("learned from", range(HELD_OUT)), ("held out", range(total - HELD_OUT, total))):
                mine, still = error(predict, dataset, episodes)
                print(f"{name} {task}, {HELD_OUT} episodes {kind}: {mine:.3f}, standing still {still:.3f}")


if __name__ == "__main__":
    main()
