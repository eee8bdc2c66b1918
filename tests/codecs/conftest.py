import pytest
import torch
from diffusers import AutoencoderKLWan

from foreact.codecs.video_vae import VideoVAE


@pytest.fixture(scope="session")
def build_vae():
    """Makes a random VAE: 3 channels, 8x in space, 4x in time; keywords change its configuration."""

    def build(**changes) -> VideoVAE:
        config = {
            "base_dim": 4,
            "decoder_base_dim": 4,
            "z_dim": 3,
            "dim_mult": [1, 2, 2],
            "num_res_blocks": 1,
            "temperal_downsample": [True, True],
            "is_residual": True,
            "patch_size": 2,
            "in_channels": 12,
            "out_channels": 12,
            "latents_mean": [0.1, -0.2, 0.3],
            "latents_std": [0.5, 2.0, 1.5],
        }
        torch.manual_seed(0)
        return VideoVAE(AutoencoderKLWan(**(config | changes))).eval()

    return build


@pytest.fixture(scope="session")
def vae(build_vae) -> VideoVAE:
    return build_vae()


@pytest.fixture(scope="session")
def clip() -> torch.Tensor:
    """Noise in [-1, 1]: two clips of 17 frames, 16 by 24 pixels."""
    return torch.rand(2, 3, 17, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
