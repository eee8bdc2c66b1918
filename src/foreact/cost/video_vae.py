"""What a video VAE costs: built, and run on one chunk's pictures, on the device that allocates nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from foreact.codecs.video_vae import VideoVAE
from foreact.cost.accelerator import NOTHING, Cost, cost_of
from foreact.cost.live_bytes import LiveBytes
from foreact.cost.parameters import count_parameters
from foreact.embodiments import CameraLayout
from foreact.from_diffusers import AutoencoderKLWan

WAN22_CHANNELS = 48
WAN22: dict[str, Any] = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": WAN22_CHANNELS,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 16,
    "latents_mean": [0.0] * WAN22_CHANNELS,
    "latents_std": [1.0] * WAN22_CHANNELS,
}
"""The shape of Wan2.2's video VAE, its statistics apart. Source: `vae/config.json`, Wan-AI/Wan2.2-TI2V-5B-Diffusers."""


@dataclass(frozen=True, kw_only=True)
class VideoVAEDescription:
    """A video VAE in figures."""

    encoder_parameters: int
    """Weights that turn pictures into latents."""
    decoder_parameters: int
    """Weights that turn latents into pictures; only looking at what was imagined needs them."""
    encode: Cost
    """One chunk's camera frames, all cameras."""
    activation_bytes: int
    """Most that encoding needs at once next to the weights, in bfloat16, the streams' kept features included."""

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.encoder_parameters + self.decoder_parameters


def describe_video_vae(config: Mapping[str, Any], layout: CameraLayout, num_latent_frames: int) -> VideoVAEDescription:
    """Return the figures of the VAE with this diffusers configuration on the pictures of a layout.

    Args:
        config: Of `AutoencoderKLWan`.
        layout: The cameras.
        num_latent_frames: Per chunk.
    """
    with torch.device("meta"):
        autoencoder = AutoencoderKLWan.from_config(dict(config))
    assert isinstance(autoencoder, AutoencoderKLWan)
    vae = VideoVAE(autoencoder).to(torch.bfloat16)
    inward = count_parameters(autoencoder.encoder) + count_parameters(autoencoder.quant_conv)
    encode, kept, beyond = NOTHING, 0, 0
    for size in layout.picture_sizes:
        flops, stays, peak = _encode_one(vae, size, num_latent_frames)
        encode = encode + cost_of(flops, 2 * inward)
        kept, beyond = kept + stays, max(beyond, peak - stays)
    return VideoVAEDescription(
        encoder_parameters=inward,
        decoder_parameters=count_parameters(autoencoder) - inward,
        encode=encode,
        activation_bytes=kept + beyond,
    )


@torch.no_grad()
def _encode_one(vae: VideoVAE, size: tuple[int, int], num_latent_frames: int) -> tuple[int, int, int]:
    """Return (operations, bytes kept between chunks, peak bytes) of one camera's stream from its second call on."""
    stream = vae.start_stream()
    with LiveBytes() as memory:
        stream.encode(torch.empty(1, 3, 1, *size, device="meta"))
        pixels = torch.empty(1, 3, num_latent_frames * vae.temporal_factor, *size, device="meta")
        with FlopCounterMode(display=False) as counter:
            stream.encode(pixels)
    return counter.get_total_flops(), memory.live, memory.peak
