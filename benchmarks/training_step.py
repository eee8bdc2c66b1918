"""What a training step of `tiny` costs: by micro-batch, of its baselines, and of other versions of the code.

    python benchmarks/training_step.py [--against SRC ...] [--forms NAME ...] [--steps 14] [--json FILE]

Every form has a process of its own, of one thread. They take turns: each takes its step before any takes the next, so a
machine that slows down slows all of them. What is counted is processor time of whole optimiser steps. The sequences are
made up, as long as demonstrations of lifting and handing over a cube (14 to 32 latent frames); what they hold does not
matter for speed. `--against` adds `tiny` as another version of the code has it, given the `src` of a checkout.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import SequenceSampler, TrainingSequence
from foreact.recipes.tiny import tiny, tiny_grounded, tiny_reactive
from foreact.studies.catalogue.ablations import shared_backbone
from foreact.training.optimization import make_optimizer
from foreact.training.recipe import Recipe
from foreact.training.state import TrainingState
from foreact.training.step import Learner, take_step
from foreact.transformer.initialization import initialize
from foreact.transformer.model import WorldActionModel

MICRO_BATCHES = (4, 2, 1)
OWN = "tiny"
WARM_UP = 2
NUM_SEQUENCES = 64
LATENT_FRAMES = (14, 32)
CHANNELS = 14
"""Of the universal action space, of a robot with two arms."""
INSTRUCTIONS = ("lift the red cube above the table", "hand the red cube over to the left arm")


def forms() -> dict[str, Recipe]:
    """Return by name what is timed: `tiny` as it is, what differs in one thing, and its baselines."""
    own = tiny()
    return {
        OWN: own,
        **{f"{size} at a time": replace(own, batch=replace(own.batch, micro_batch=size)) for size in MICRO_BATCHES},
        "grounded": tiny_grounded(),
        "without imagination": tiny_reactive(),
        "shared backbone": replace(own, transformer=replace(own.transformer, **shared_backbone())),
    }


def made_up_sequences(recipe: Recipe) -> list[TrainingSequence]:
    """Return sequences of noise, of a recipe's shapes."""
    rng, generator, sizes = np.random.default_rng(0), torch.Generator().manual_seed(0), recipe.transformer
    sequences = []
    for number in range(NUM_SEQUENCES):
        frames = int(rng.integers(LATENT_FRAMES[0], LATENT_FRAMES[1] + 1))
        actions = torch.randn(frames, sizes.actions_per_latent_frame, sizes.action_channels, generator=generator)
        actions[..., CHANNELS:] = 0
        sequences.append(
            TrainingSequence(
                latents=torch.randn(sizes.latent_channels, frames, *sizes.canvas, generator=generator),
                actions=actions,
                executed=actions.clone(),
                action_valid=torch.ones(actions.shape[:2], dtype=torch.bool),
                frame_valid=torch.ones(frames, dtype=torch.bool),
                instruction=INSTRUCTIONS[number % len(INSTRUCTIONS)],
                channel_mask=torch.arange(sizes.action_channels) < CHANNELS,
            )
        )
    return sequences


def steps(recipe: Recipe) -> Iterator[tuple[float, float]]:
    """Take step after step, yielding (seconds of processor time, loss)."""
    model = WorldActionModel(recipe.transformer)
    initialize(model, seed=recipe.seed, action=recipe.action_initialization)
    learner = Learner(
        model,
        SequenceSampler([made_up_sequences(recipe)], max_frames=recipe.batch.max_frames, seed=recipe.seed),
        HashedWordEncoder(dim=recipe.transformer.text_dim),
        batch=recipe.batch,
        corruption=recipe.corruption,
        seed=recipe.seed,
    )
    state = TrainingState(model, make_optimizer(model, recipe.optimization))
    while True:
        began = time.process_time()
        result, _ = take_step(state, learner, recipe.optimization)
        yield time.process_time() - began, result.loss


def work(name: str) -> None:
    """Take a step of one form for every line on standard input."""
    torch.set_num_threads(1)
    stepping = steps(forms()[name])
    for _ in sys.stdin:
        print(json.dumps(next(stepping)), flush=True)


@contextmanager
def worker(name: str, source: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the process of one form, on one version of the code."""
    command = [sys.executable, __file__, "--work", name]
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def measure(timed: dict[str, tuple[str, Path]], num_steps: int) -> dict[str, list[tuple[float, float]]]:
    """Return by name (seconds, loss) of each step, of forms of versions of the code."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(worker(*what)) for name, what in timed.items()}
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
        for _ in track(range(WARM_UP + num_steps), description="steps"):
            for name, process in workers.items():
                assert process.stdin is not None and process.stdout is not None
                print(file=process.stdin, flush=True)
                spent[name].append(tuple(json.loads(process.stdout.readline())))
    return {name: steps[WARM_UP:] for name, steps in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", nargs="+", type=Path, default=[], help="`src` of other versions of the code")
    parser.add_argument("--forms", nargs="+", default=list(forms()), choices=list(forms()))
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--json", type=Path, help="write figures there")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return work(given.work)
    here = Path(__file__).parents[1] / "src"
    timed = {name: (name, here) for name in given.forms} | {str(path): (OWN, path.resolve()) for path in given.against}
    spent = measure(timed, given.steps)
    first = next(iter(spent))
    print(f"| form | median seconds a step | of {first} (quartiles of {given.steps} pairs) | loss |\n|---|---|---|---|")
    rows = {}
    for name, taken in spent.items():
        seconds, losses = np.array(taken).T
        low, middle, high = np.quantile(seconds / np.array(spent[first])[:, 0], (0.25, 0.5, 0.75))
        rows[name] = {
            "seconds_median": float(np.median(seconds)),
            "ratio_of_sums": float(seconds.sum() / np.array(spent[first])[:, 0].sum()),
            "ratio_median": float(middle),
            "ratio_quartiles": [float(low), float(high)],
            "loss_mean": float(losses.mean()),
        }
        print(
            f"| {name} | {np.median(seconds):.3f} | {middle:.2f} ({low:.2f} to {high:.2f}) | {losses.mean():.6f} |",
            flush=True,
        )
    if given.json:
        about = {"torch": torch.__version__, "threads": 1, "steps": given.steps, "first": first}
        given.json.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
