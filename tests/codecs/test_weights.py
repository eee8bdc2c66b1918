"""A network's name changes with any of its weights, and with nothing else."""

import torch

from foreact.codecs.weights import digest_weights


def test_the_digest_is_of_names_and_values():
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    before = digest_weights(network).hexdigest()
    assert digest_weights(network.eval()).hexdigest() == before
    other = torch.nn.Sequential(network)
    assert digest_weights(other).hexdigest() != before
    with torch.no_grad():
        network.bias[1] += 1e-6
    assert digest_weights(network).hexdigest() != before
