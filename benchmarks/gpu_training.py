"""What a training step takes on this machine: seconds, tokens a second, share of the data sheet, the most memory held.

    python benchmarks/gpu_training.py --recipe wan5b-lora-48gb --frames 37 --steps 3 --device cuda [--json FILE]

Weights are random and sequences are made up, all of them as long as the longest: neither matters for speed. The memory
that `foreact plan` computes stands beside the one that torch held. `--miniature` is the same with a network of one
narrow layer, for machines without a GPU.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from foreact.codecs.text import HashedWordEncoder
from foreact.cost.cards import CARDS
from foreact.cost.ceilings import peak_bytes
from foreact.cost.machine import Machine, TrainingCost, training_cost
from foreact.cost.parameters import count_network
from foreact.cost.proposal import with_length
from foreact.data.batch import SequenceSampler, TrainingSequence
from foreact.recipes import RECIPES, get_recipe
from foreact.training.methods import freeze, reset_adapters, store_frozen_in_bfloat16
from foreact.training.optimization import make_optimizer
from foreact.training.recipe import Recipe
from foreact.training.state import TrainingState
from foreact.training.step import Learner, take_step
from foreact.transformer.model import WorldActionModel

WARM_UP = 1
"""Steps before counting: kernels are chosen and the allocator's blocks are made in the first."""
STANDARD_DEVIATION = 0.02


def miniature(recipe: Recipe) -> Recipe:
    """Return a recipe of the same settings with a network that takes milliseconds."""
    narrow = {"video_width": 48, "action_width": 24, "num_heads": 2, "video_ffn_dim": 96, "action_ffn_dim": 48}
    if recipe.transformer.is_shared:
        narrow |= {"action_width": 48, "action_ffn_dim": 96}
    transformer = replace(
        recipe.transformer, **narrow, num_layers=1, canvas=(4, 4), text_dim=8, latent_channels=4, frequency_dim=16
    )
    batch = replace(recipe.batch, global_batch=2, max_chunk=2)
    return with_length(replace(recipe, transformer=transformer, batch=batch), 4)


def begin(recipe: Recipe, device: torch.device) -> tuple[TrainingState, Learner]:
    """Return a training of random weights on made-up sequences."""
    with torch.device("meta"):
        model = WorldActionModel(recipe.transformer)
        freeze(model, recipe.method, recipe.adapters)
        if recipe.frozen_precision == "bfloat16":
            store_frozen_in_bfloat16(model)
    model.to_empty(device=device)
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=STANDARD_DEVIATION)
    reset_adapters(model, recipe.seed)
    learner = Learner(
        model,
        SequenceSampler([[made_up_sequence(recipe)]], max_frames=recipe.batch.max_frames, seed=recipe.seed),
        HashedWordEncoder(dim=recipe.transformer.text_dim),
        batch=recipe.batch,
        corruption=recipe.corruption,
        seed=recipe.seed,
        bfloat16=recipe.precision == "bfloat16",
    )
    optimizer = make_optimizer(model, recipe.optimization)
    return TrainingState(model, optimizer, average_on_cpu=recipe.average_on_cpu), learner


def made_up_sequence(recipe: Recipe) -> TrainingSequence:
    """Return noise of the recipe's shapes, as long as its longest sequence."""
    sizes, frames, generator = recipe.transformer, recipe.batch.max_frames, torch.Generator().manual_seed(0)
    mask = torch.from_numpy(np.asarray(recipe.robot().channel_mask).copy())
    actions = mask * torch.randn(frames, sizes.actions_per_latent_frame, sizes.action_channels, generator=generator)
    return TrainingSequence(
        latents=torch.randn(sizes.latent_channels, frames, *sizes.canvas, generator=generator),
        actions=actions,
        executed=actions.clone(),
        action_valid=torch.ones(actions.shape[:2], dtype=torch.bool),
        frame_valid=torch.ones(frames, dtype=torch.bool),
        instruction="put the cup on the plate",
        channel_mask=mask,
    )


def measure(recipe: Recipe, device: torch.device, *, steps: int, seconds: float) -> list[float]:
    """Return seconds of each step: so many steps, or as many as fit into a time if that is longer."""
    state, learner = begin(recipe, device)
    times, began = [], time.perf_counter()
    while len(times) < WARM_UP + steps or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        take_step(state, learner, recipe.optimization)  # ends with a figure on the CPU, so that the device is done
        times.append(time.perf_counter() - start)
    return times[WARM_UP:]


def figures(recipe: Recipe, cost: TrainingCost, times: list[float], device: torch.device) -> dict[str, object]:
    """Return what is reported; the share of the data sheet is that of one H100 or H200."""
    median = statistics.median(times)
    return {
        "steps": len(times),
        "sequences_per_step": recipe.batch.global_batch,
        "latent_frames": recipe.batch.max_frames,
        "step_s": median,
        "tokens_per_s": cost.tokens_per_step / median,
        "flops_per_s": cost.flops_per_step / median,
        "share_of_989_tflops": cost.flops_per_step / median / CARDS["h100"].flops_per_s,
        "peak_bytes": peak_bytes(device),
        "computed_bytes": cost.memory.total,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=list(RECIPES), default="small")
    parser.add_argument("--method", choices=("full", "lora", "action"))
    parser.add_argument("--frames", type=int, help="latent frames of the sequences; default: the recipe's")
    parser.add_argument("--sequences", type=int, help="in a step; default: the recipe's")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--miniature", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    recipe, device = replace(get_recipe(given.recipe), num_held_out=0), torch.device(given.device)
    if given.method:
        recipe = replace(recipe, method=given.method)
    if given.frames:
        recipe = with_length(recipe, given.frames)
    if given.sequences:
        recipe = replace(recipe, batch=replace(recipe.batch, global_batch=given.sequences))
    if given.miniature:
        recipe = miniature(recipe)
    cost = training_cost(recipe, count_network(recipe.transformer), Machine(card=CARDS["h100"], num_gpus=1))
    times = measure(recipe, device, steps=given.steps, seconds=given.seconds)
    text = json.dumps(figures(recipe, cost, times, device), indent=1)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
