"""Classifier-free guidance."""

from torch import Tensor


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Return the unconditional velocity moved `scale` times the way to the conditional one.

    Source: Ho and Salimans, arXiv 2207.12598, written as in the LingBot-VA release: 1 means no guidance.
    """
    return unconditional + scale * (conditional - unconditional)
