"""What compiling is worth: seconds until a policy is warm, and milliseconds of a chunk, plain and compiled in turn.

    python benchmarks/compiled.py [--policy tiny] [--device cuda] [--chunks 20]

Compilers keep what they made; an empty folder in TORCHINDUCTOR_CACHE_DIR shows what the first start on a machine takes.
"""

import argparse
import copy
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

import foreact
from foreact.cost.random_policy import random_policy
from foreact.cost.subject import subject_of_recipe
from foreact.policy.compiled import warm_up
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Rollout
from foreact.policy.schedules import SCHEDULES, get_schedule
from foreact.recipes import RECIPES, get_recipe
from foreact.transformer.compilation import compile_layers


def begin(predictor: Predictor, encode) -> Rollout:
    """Return a rollout whose window is full."""
    rollout = predictor.start(encode(["Pick up the white cube."]), encode([""]), seed=0)
    append(predictor, rollout, 1)
    while rollout.next_frame < predictor.config.window:
        append(predictor, rollout, predictor.config.latent_frames_per_chunk)
    return rollout


def append(predictor: Predictor, rollout: Rollout, num_frames: int) -> None:
    sizes, generator = predictor.model.config, rollout.generator
    actions = torch.randn(num_frames, sizes.actions_per_latent_frame, sizes.action_channels, generator=generator)
    latents = torch.randn(sizes.latent_channels, num_frames, *sizes.canvas, generator=generator)
    predictor.append_observed(rollout, latents, actions)


def chunk_ms(predictor: Predictor, rollout: Rollout) -> float:
    """Append a chunk and predict the next; return milliseconds."""
    start = time.perf_counter()
    append(predictor, rollout, predictor.config.latent_frames_per_chunk)
    predictor.predict(rollout)  # its actions come to the CPU, so it is done when it returns
    return 1e3 * (time.perf_counter() - start)


def made_up(given: argparse.Namespace) -> foreact.Policy:
    """Return a policy of a preset's size with random weights, under a schedule."""
    subject = subject_of_recipe(given.preset, get_recipe(given.preset))
    changes = get_schedule(given.schedule).changes(subject.inference)
    subject = replace(subject, inference=replace(subject.inference, **changes))
    return random_policy(subject, torch.device(given.device), getattr(torch, given.dtype))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--preset", choices=list(RECIPES), help="random weights of this size instead of a policy")
    parser.add_argument("--schedule", default="fast", choices=list(SCHEDULES), help="of a preset")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of a preset")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    policy = made_up(given) if given.preset else foreact.load(given.policy, device=given.device)
    model = copy.deepcopy(policy.networks.model)
    compile_layers(model)
    fast = Predictor(model, policy.config, torch.from_numpy(policy.codec.mask.copy()))
    result = {"policy": given.preset or given.policy, "device": given.device, "compile_s": warm_up(fast)}
    predictors = {"plain": policy.predictor, "compiled": fast}
    rollouts = {name: begin(predictor, policy.networks.text_encoder.encode) for name, predictor in predictors.items()}
    spent: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(given.chunks + 1):
        for name, predictor in predictors.items():
            spent[name].append(chunk_ms(predictor, rollouts[name]))
    result |= {f"{name}_ms": statistics.median(times[1:]) for name, times in spent.items()}
    ratios = [a / b for a, b in zip(spent["plain"][1:], spent["compiled"][1:], strict=True)]
    result |= {"speed_up": statistics.median(ratios), "speed_up_quartiles": statistics.quantiles(ratios, n=4)[::2]}
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
