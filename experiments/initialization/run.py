"""Where should the action stream start from? Interpolated from the video stream, cut out of it, or random.

    python experiments/initialization/run.py --policy runs/tiny/policy --data data/lift_cube --steps 150

The video stream is a trained one, as in the paper. Each start is trained on the same batches; the table shows the first
step's gradient norm and the activation scale per stream, and the loss after some steps.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

import foreact
from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import SequenceSampler
from foreact.data.episodes import EpisodeDataset
from foreact.recipes import get_recipe
from foreact.training.optimization import make_optimizer
from foreact.training.robots import load_training_data
from foreact.training.step import Learner
from foreact.transformer.initialization import cut_weight, derive_action_stream, initialize, resize_weight
from foreact.transformer.model import WorldActionModel

STARTS = {"interpolated": resize_weight, "copied": cut_weight, "random": None}


def start_model(trained: WorldActionModel, start: str) -> WorldActionModel:
    """Return a model with the trained video stream and a fresh action stream."""
    model = WorldActionModel(trained.config)
    initialize(model, seed=1, action="random")
    video = {name: value for name, value in trained.state_dict().items() if name.startswith("video.")}
    model.load_state_dict(video, strict=False)
    if STARTS[start] is not None:
        derive_action_stream(model, STARTS[start])
    return model


def activation_scales(model: WorldActionModel) -> tuple[dict[str, list[float]], list]:
    """Return a record that hooks fill: the root mean square of every layer's joint-attention output, per stream."""
    scales: dict[str, list[float]] = {"video": [], "action": []}

    def record(name):
        return lambda module, inputs, output: scales[name].append(output.detach().square().mean().sqrt().item())

    hooks = [
        block.joint.to_q.register_forward_hook(record(name))
        for name, stream in (("video", model.video), ("action", model.action))
        for block in stream.blocks
    ]
    return scales, hooks


def gradient_norm(stream: torch.nn.Module) -> float:
    """Return the norm of the gradient of a stream's layers."""
    squares = [p.grad.square().sum() for block in stream.blocks for p in block.parameters() if p.grad is not None]
    return torch.stack(squares).sum().sqrt().item()


def run(trained: WorldActionModel, start: str, data, recipe, steps: int) -> dict:
    """Train one start; return its row."""
    model = start_model(trained, start)
    learner = Learner(
        model,
        SequenceSampler(data.sources, max_frames=recipe.batch.max_frames, seed=3),
        HashedWordEncoder(dim=recipe.transformer.text_dim),
        batch=recipe.batch,
        corruption=recipe.corruption,
        seed=3,
    )
    optimizer = make_optimizer(model, recipe.optimization)
    losses, first = [], {}
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.optimization.learning_rate * min(1.0, (step + 1) / 20)
        optimizer.zero_grad()
        scales, hooks = activation_scales(model) if step == 0 else ({}, [])
        result = learner.accumulate_gradients(step)
        if step == 0:
            first = {f"{name}_activation": sum(values) / len(values) for name, values in scales.items()}
            first |= {"video_gradient": gradient_norm(model.video), "action_gradient": gradient_norm(model.action)}
        for hook in hooks:
            hook.remove()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.optimization.max_grad_norm)
        optimizer.step()
        losses.append((result.dynamics, result.inverse))
        print(f"{start} {step + 1}/{steps}: video {result.dynamics:.3f}, actions {result.inverse:.3f}", flush=True)
    last = losses[-20:]
    return first | {
        "video_loss": sum(video for video, _ in last) / len(last),
        "action_loss": sum(action for _, action in last) / len(last),
        "curve": [action for _, action in losses],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", required=True)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--out", default=str(Path(__file__).parent / "result.json"))
    given = parser.parse_args()
    recipe = get_recipe("tiny")
    recipe = replace(recipe, batch=replace(recipe.batch, global_batch=given.batch, micro_batch=given.batch))
    policy = foreact.load(given.policy)
    data = load_training_data(recipe, [EpisodeDataset(root) for root in given.data], policy.networks.vae)
    rows = {start: run(policy.networks.model, start, data, recipe, given.steps) for start in STARTS}
    Path(given.out).write_text(json.dumps(rows, indent=1) + "\n")
    print("| start | activations video / action | gradients video / action | video loss | action loss |")
    print("|---|---|---|---|---|")
    for start, row in rows.items():
        print(
            f"| {start} | {row['video_activation']:.2f} / {row['action_activation']:.2f} "
            f"| {row['video_gradient']:.2f} / {row['action_gradient']:.2f} "
            f"| {row['video_loss']:.3f} | {row['action_loss']:.3f} |"
        )


if __name__ == "__main__":
    main()
