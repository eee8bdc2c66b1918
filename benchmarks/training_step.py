"""What a training step costs: of `tiny` by micro-batch, and of its baselines; processor time, turn about.

    python benchmarks/training_step.py --data data/lift_cube data/transfer_cube --vae runs/vae/vae [--json FILE]

Every form takes its step before any takes the next, on one thread, so a machine that slows down slows all of them. All
steps are real ones of real training runs, in folders thrown away afterwards; `foreact collect` makes the data.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from foreact.codecs.video_vae import VideoVAE
from foreact.data.episodes import EpisodeDataset
from foreact.recipes.tiny import tiny, tiny_reactive
from foreact.studies.catalogue.ablations import shared_backbone
from foreact.training.run import Recipe, train

GLOBAL_BATCH = 8
"""Sequences a step of every form: enough that it matters how they are cut."""
MICRO_BATCHES = (8, 4, 2, 1)
NEVER = 10**9
OWN = "tiny"
WARM_UP = 1


def forms() -> dict[str, Recipe]:
    """Return by name what is timed: `tiny` as it is, what differs in one thing, and its baselines."""
    own, reactive = (
        replace(recipe, batch=replace(recipe.batch, global_batch=GLOBAL_BATCH)) for recipe in (tiny(), tiny_reactive())
    )
    return {
        OWN: own,
        **{
            f"{OWN}, {size} at a time": replace(own, batch=replace(own.batch, micro_batch=size))
            for size in MICRO_BATCHES
            if size != own.batch.micro_batch
        },
        "without imagination": reactive,
        "shared backbone": replace(own, transformer=replace(own.transformer, **shared_backbone())),
    }


def measure(data: list[Path], vae: Path, num_steps: int) -> dict[str, list[float]]:
    """Return by form the seconds of processor time of each step."""
    datasets, codec = [EpisodeDataset(path) for path in data], VideoVAE.from_pretrained(vae)
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            name: train(
                replace(recipe, judge_every=NEVER, save_every=NEVER), datasets, codec, Path(folder) / str(number)
            )
            for number, (name, recipe) in enumerate(forms().items())
        }
        for run in track(runs.values(), description="warm up"):
            for _ in range(WARM_UP):
                next(run)
        spent: dict[str, list[float]] = {name: [] for name in runs}
        for _ in track(range(num_steps), description="time"):
            for name, run in runs.items():
                began = time.process_time()
                next(run)
                spent[name].append(time.process_time() - began)
        for run in runs.values():
            run.close()
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="LeRobot datasets")
    parser.add_argument("--vae", type=Path, required=True, help="video VAE")
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--json", type=Path, help="write figures there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    spent = measure(given.data, given.vae, given.steps)
    print(f"| form | seconds a step | of {OWN} (quartiles of {given.steps} pairs) |\n|---|---|---|")
    rows = {}
    for name, seconds in spent.items():
        ratios = np.array(seconds) / np.array(spent[OWN])
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        rows[name] = {
            "seconds": float(np.mean(seconds)),
            "ratio_of_sums": sum(seconds) / sum(spent[OWN]),
            "ratio_median": float(middle),
            "ratio_quartiles": [float(low), float(high)],
        }
        print(f"| {name} | {np.mean(seconds):.2f} | {rows[name]['ratio_of_sums']:.2f} ({low:.2f} to {high:.2f}) |")
    if given.json:
        about = {"torch": torch.__version__, "threads": 1, "data": [path.name for path in given.data]}
        given.json.write_text(json.dumps(about | {"steps": given.steps, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
