"""A policy of any preset with random weights: it takes as long as a trained one."""

import numpy as np
import torch
from torch import nn

from foreact.codecs.text import HashedWordEncoder
from foreact.codecs.video_vae import VideoVAE
from foreact.cost.subject import Subject
from foreact.embodiments import ActionCodec
from foreact.embodiments.actions import NUM_CHANNELS
from foreact.errors import ConfigurationError
from foreact.from_diffusers import AutoencoderKLWan
from foreact.policy.networks import Networks
from foreact.policy.policy import Policy
from foreact.policy.storage.placement import GB, free_bytes
from foreact.transformer.model import WorldActionModel

STANDARD_DEVIATION = 0.02


def random_policy(subject: Subject, device: torch.device, dtype: torch.dtype) -> Policy:
    """Return a policy that does nothing sensible, at full speed. Its text encoder is the small one, at any width.

    Raises:
        ConfigurationError: Too little memory for its weights alone; none has been taken yet.
    """
    with torch.device("meta"):
        model = WorldActionModel(subject.transformer)
        autoencoder = AutoencoderKLWan.from_config(dict(subject.video_vae))
    assert isinstance(autoencoder, AutoencoderKLWan)
    _check_room(subject, [model, autoencoder], device, dtype)
    _draw(model, device, dtype)
    _draw(autoencoder, device, dtype)
    networks = Networks(
        model=model,
        vae=VideoVAE(autoencoder).eval(),
        text_encoder=HashedWordEncoder(dim=subject.transformer.text_dim),
    )
    ends = np.stack([np.zeros(NUM_CHANNELS), np.ones(NUM_CHANNELS)]) * subject.embodiment.channel_mask
    return Policy(networks, ActionCodec.fit(subject.embodiment, ends), subject.inference)


def _check_room(subject: Subject, networks: list[nn.Module], device: torch.device, dtype: torch.dtype) -> None:
    weights = sum(parameter.numel() for network in networks for parameter in network.parameters())
    needed, free = weights * dtype.itemsize, free_bytes(str(device))
    if needed > free:
        raise ConfigurationError(
            f"memory for {subject.name} on {device}",
            got=f"{free / GB:.1f} GB free",
            allowed=f"{needed / GB:.1f} GB or more, for weights alone",
            cure="time fewer layers (--layers), or in --dtype bfloat16",
        )


def _draw(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    nn.Module.to(
        network.to_empty(device=device), dtype
    ).eval()  # diffusers' own `to` warns of what does not matter here
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=STANDARD_DEVIATION)
