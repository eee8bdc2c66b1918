"""Training stops where a loss or a gradient is no finite number, before the weights become none either."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foreact.data.batch import TrainingSequence
from foreact.errors import TrainingError

KEPT = (
    "the weights on disk are those saved before; lower optimization.learning_rate, or look at the data: foreact doctor"
)


def check_losses(losses: Tensor, sequences: Sequence[TrainingSequence], step: int) -> None:
    """Refuse losses that are not finite.

    Args:
        losses: [batch], one per sequence.
        sequences: In the same order.
        step: The optimiser step.

    Raises:
        TrainingError: Naming the step and the episodes.
    """
    finite = torch.isfinite(losses.detach()).cpu()
    if finite.all():
        return
    named = ", ".join(s.name or "unnamed" for s, good in zip(sequences, finite.tolist(), strict=True) if not good)
    raise TrainingError(f"loss of step {step}", got=f"not a finite number, of {named}", cure=KEPT)


def check_gradient(norm: Tensor, step: int) -> None:
    """Refuse a gradient that is not finite.

    Raises:
        TrainingError: Naming the step.
    """
    if not torch.isfinite(norm):
        raise TrainingError(f"gradient of step {step}", got=f"a norm of {norm.item()}", cure=KEPT)
