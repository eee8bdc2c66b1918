"""The optimiser's settings, its schedule, and the moving average of the weights."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from foreact.errors import ConfigurationError

_LAYER_MATRIX = re.compile(r"\b(blocks|layers)\.\d+\..*weight$")
"""Names of the matrices between a layer's tokens: embeddings, clocks and heads are not among them, as Muon asks."""


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """AdamW under a cosine schedule with warm-up. Source: LingBot-VA, section 4."""

    num_steps: int = 3000
    """Optimiser steps in all."""
    learning_rate: float = 1e-4
    """At the end of the warm-up."""
    warmup_steps: int = 100
    """Steps of linear warm-up; a run of fewer steps ends while the learning rate still rises."""
    final_share: float = 0.02
    """The learning rate ends at this share of its peak."""
    weight_decay: float = 0.01
    """Of matrices; vectors (biases, norms) do not decay."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's."""
    layer_matrices: Literal["adamw", "muon"] = "adamw"
    """What moves the matrices of the layers; all other weights are moved by AdamW. Muon (Jordan, 2024; torch's own)
    makes every step of a matrix an orthogonal one: small networks trained from scratch need far fewer steps."""
    muon_learning_rate: float = 0.05
    """Of Muon at the end of the warm-up; it follows the same schedule."""
    max_grad_norm: float = 2.0
    """Gradients are clipped to this norm."""
    ema_decay: float = 0.999
    """Of the moving average of the weights, which is what a policy runs on; reached as (1 + step) / (10 + step)."""

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.warmup_steps < 0:
            raise ConfigurationError(
                "num_steps, warmup_steps", got=(self.num_steps, self.warmup_steps), allowed="1 or more, 0 or more"
            )
        if min(self.learning_rate, self.muon_learning_rate, self.max_grad_norm) <= 0:
            raise ConfigurationError(
                "learning_rate, muon_learning_rate, max_grad_norm",
                got=(self.learning_rate, self.muon_learning_rate, self.max_grad_norm),
                allowed="above 0",
            )
        if not 0 <= self.ema_decay < 1:
            raise ConfigurationError("ema_decay", got=self.ema_decay, allowed="[0, 1)")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: a function of the step alone, so it needs no state."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return self.learning_rate * (self.final_share + (1 - self.final_share) * cosine)

    def ema_decay_at(self, step: int) -> float:
        """Return the moving average's decay at a step: short at first, so that it forgets the random start."""
        return min(self.ema_decay, (1 + step) / (10 + step))


class Optimizers:
    """Several optimisers as one, each with weights of its own."""

    def __init__(self, *optimizers: torch.optim.Optimizer):
        self._optimizers = optimizers
        self._owners = {
            parameter: optimizer
            for optimizer in optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return the groups of all of them; `lr_scale` is a group's share of the scheduled learning rate."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def state_of(self, parameter: nn.Parameter) -> dict[str, Any]:
        """Return what its optimiser remembers of a weight; empty before the first step. May be written to."""
        return self._owners[parameter].state[parameter]

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Move all weights."""
        for optimizer in self._optimizers:
            optimizer.step()


def make_optimizer(model: nn.Module, config: OptimizationConfig) -> Optimizers:
    """Return what moves the model's weights: AdamW, of whose weights only matrices decay, and Muon if asked for."""
    muon, trained = {}, {name: p for name, p in model.named_parameters() if p.requires_grad}
    if config.layer_matrices == "muon":
        muon = {name: p for name, p in trained.items() if p.ndim == 2 and _LAYER_MATRIX.search(name)}
    others = [p for name, p in trained.items() if name not in muon]
    groups = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": config.weight_decay, "lr_scale": 1.0},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0, "lr_scale": 1.0},
    ]
    fused = next(model.parameters()).device.type in ("cpu", "cuda")  # one pass over the weights instead of a dozen
    adamw = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)
    if not muon:
        return Optimizers(adamw)
    scale = config.muon_learning_rate / config.learning_rate
    group = {"params": list(muon.values()), "lr_scale": scale}
    return Optimizers(adamw, torch.optim.Muon([group], lr=config.muon_learning_rate, weight_decay=config.weight_decay))


@torch.no_grad()
def update_ema(ema: Iterable[torch.Tensor], weights: Iterable[torch.Tensor], decay: float) -> None:
    """Move the averages (in place) towards the weights, which may lie on another device."""
    averages = list(ema)
    here = [weight.detach().to(average.device) for average, weight in zip(averages, weights, strict=True)]
    torch._foreach_lerp_(averages, here, 1 - decay)
