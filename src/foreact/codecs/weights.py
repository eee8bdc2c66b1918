"""A short name for a network's weights, so that what was made with others is never mistaken for theirs."""

import hashlib

from torch import nn


def digest_weights(network: nn.Module) -> "hashlib.blake2b":
    """Return a hash of all weights by name, in float32; more can be added to it before it is read."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest
