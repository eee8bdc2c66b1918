"""Run by test_compiled.py in a process of its own: the checks of shapes that every other test runs under are no torch.

    python compiled_rollouts.py BACKEND DEVICE

Prints as JSON how far a compiled rollout is from a plain one, and how many graphs were compiled, and when.
"""

import functools
import json
import sys

import torch
from torch._dynamo.utils import counters

from foreact.codecs.text import HashedWordEncoder
from foreact.policy.compiled import warm_up
from foreact.policy.inference import InferenceConfig
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Ahead
from foreact.policy.trained import TrainedFor
from foreact.transformer.compilation import compile_layers
from foreact.transformer.initialization import initialize
from foreact.transformer.model import TransformerConfig, WorldActionModel

WORDS = "push the red cube, and then the blue one"


def predictor(num_layers: int, device: str) -> Predictor:
    sizes = TransformerConfig(
        latent_channels=4,
        canvas=(4, 4),
        actions_per_latent_frame=4,
        video_width=24,
        action_width=16,
        num_layers=num_layers,
        num_heads=2,
        video_ffn_dim=32,
        action_ffn_dim=24,
        text_dim=8,
        frequency_dim=16,
    )
    model = WorldActionModel(sizes)
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.15)
    inference = InferenceConfig(
        latent_frames_per_chunk=1,
        window=3,
        video_steps=2,
        action_steps=2,
        s_stop=0.6,
        video_guidance=2.0,
        asynchronous=True,
        trained=TrainedFor(forward_dynamics=True, action_prefixes=True),
    )
    return Predictor(model.to(device).eval(), inference, torch.ones(30, dtype=torch.bool))


def rollout(predictor: Predictor) -> list[torch.Tensor]:
    """All that is predicted while the window fills and wraps."""
    encode, made = HashedWordEncoder(dim=8).encode, []
    rollout = predictor.start(encode([WORDS]), encode([""]), seed=0)
    generator = torch.Generator().manual_seed(5)
    for _ in range(6):
        latents, actions = torch.randn(4, 1, 4, 4, generator=generator), torch.randn(1, 4, 30, generator=generator)
        predictor.append_observed(rollout, latents, actions)
        for ahead in (None, Ahead(actions=actions), Ahead(actions=actions, prefix=actions[0, :2])):
            prediction = predictor.predict(rollout, ahead)
            made += [prediction.latents, prediction.actions]
    return made


def compiled(num_layers: int, device: str) -> tuple[Predictor, int]:
    """A predictor that has been warmed up, and the graphs that took."""
    torch._dynamo.reset()
    before = counters["stats"]["unique_graphs"]
    made = predictor(num_layers, device)
    compile_layers(made.model)
    assert warm_up(made) > 0
    return made, counters["stats"]["unique_graphs"] - before


def main(backend: str, device: str) -> None:
    if backend == "eager":  # captured like any other, then run as it is
        real = torch.compile
        torch.compile = lambda function, *, mode, **settings: real(function, backend="eager", **settings)
        functools.update_wrapper(torch.compile, real)
    _, graphs_of_one_layer = compiled(1, device)
    fast, graphs = compiled(3, device)
    before = counters["stats"]["unique_graphs"]
    pairs = list(zip(rollout(fast), rollout(predictor(3, device)), strict=True))
    print(
        json.dumps(
            {
                "graphs_of_one_layer": graphs_of_one_layer,
                "graphs": graphs,
                "graphs_after_warm_up": counters["stats"]["unique_graphs"] - before,
                "largest": max(plain.abs().max().item() for _, plain in pairs),
                "difference": max((mine - plain).abs().max().item() for mine, plain in pairs),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
