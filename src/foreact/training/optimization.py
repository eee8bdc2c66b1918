"""The optimiser's settings, its schedule, and the moving average of the weights."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from foreact.errors import ConfigurationError


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
    max_grad_norm: float = 2.0
    """Gradients are clipped to this norm."""
    ema_decay: float = 0.999
    """Of the moving average of the weights, which is what a policy runs on; reached as (1 + step) / (10 + step)."""

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.warmup_steps < 0:
            raise ConfigurationError(
                "num_steps, warmup_steps", got=(self.num_steps, self.warmup_steps), allowed="1 or more, 0 or more"
            )
        if self.learning_rate <= 0 or self.max_grad_norm <= 0:
            raise ConfigurationError(
                "learning_rate, max_grad_norm",
                got=(self.learning_rate, self.max_grad_norm),
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


def make_optimizer(model: nn.Module, config: OptimizationConfig) -> torch.optim.AdamW:
    """Return AdamW over the model's weights; only matrices decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    fused = next(model.parameters()).device.type in ("cpu", "cuda")  # one pass over the weights instead of a dozen
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)


@torch.no_grad()
def update_ema(ema: Iterable[torch.Tensor], weights: Iterable[torch.Tensor], decay: float) -> None:
    """Move the averages (in place) towards the weights."""
    torch._foreach_lerp_(list(ema), [w.detach() for w in weights], 1 - decay)
