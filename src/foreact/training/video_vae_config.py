"""What is trained as a video VAE, and how."""

from dataclasses import dataclass

from foreact.errors import ConfigurationError, check_seed
from foreact.from_diffusers import AutoencoderKLWan


@dataclass(frozen=True, kw_only=True)
class VideoVAETrainingConfig:
    """A small `AutoencoderKLWan` and the run that fits it: by default for 64-pixel cameras, two CPU cores."""

    encoder_width: int = 16
    """Channels of the encoder's first stage."""
    decoder_width: int = 16
    """Channels of the decoder's last stage."""
    num_channels: int = 16
    """Channels of a latent frame."""
    width_multipliers: tuple[int, ...] = (1, 2, 2)
    """Width of each stage as a multiple of the first; each but the last halves height and width."""
    temporal_downsampling: tuple[bool, ...] = (True, True)
    """Which of the stages but the last also halve the frame rate."""
    num_residual_blocks: int = 1
    """Residual blocks per encoder stage; a decoder stage has one more."""
    patch_size: int = 2
    """Pixels along one side of the square folded into channels before the first convolution."""

    num_steps: int = 1500
    """Optimiser steps."""
    batch_size: int = 1
    """Clips of every picture per step."""
    num_frames: int = 33
    """Frames per clip: 1 + a multiple of the temporal factor. An episode that is shorter gives shorter clips.

    The network is used on streams without end. On clips of 9 frames it learns to tell time by the zeros before
    the first frame: 34 dB within nine frames, 20 dB after them. On 33 it holds its quality. Cheapest is a short
    run on 9 and then one on 33 that begins with its weights.
    """
    learning_rate: float = 3e-3
    """Peak of AdamW's learning rate."""
    num_warmup_steps: int = 50
    """Steps of linear rise to the peak; a cosine to zero follows."""
    weight_decay: float = 1e-4
    """AdamW's."""
    max_gradient_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    kl_weight: float = 3e-5
    """Weight of the KL divergence per latent number next to the reconstruction error per pixel."""
    saliency_weight: float = 8.0
    """Extra weight, at most, of a pixel that moves or is unlike the dataset's mean picture."""
    num_held_out_episodes: int = 4
    """The last episodes of the source: never trained on, measured while training runs."""
    seed: int = 0
    """Seeds the weights, the clips of each step and the posterior's noise."""
    checkpoint_interval: int = 100
    """Steps between checkpoints, each of which also measures the held-out PSNR."""

    def __post_init__(self) -> None:
        stages = len(self.width_multipliers)
        if stages < 2 or len(self.temporal_downsampling) != stages - 1:
            raise ConfigurationError(
                "stages of the VAE",
                got=f"{stages} widths, {len(self.temporal_downsampling)} temporal factors",
                allowed="at least 2 widths, one temporal factor for each but the last",
            )
        if self.num_frames < 1 or self.num_frames % self.temporal_factor != 1 % self.temporal_factor:
            raise ConfigurationError("num_frames", got=self.num_frames, allowed=f"1 + {self.temporal_factor} * m")
        for name in (
            "num_steps",
            "batch_size",
            "num_held_out_episodes",
            "checkpoint_interval",
            "encoder_width",
            "decoder_width",
            "num_channels",
            "num_residual_blocks",
            "patch_size",
            "learning_rate",
        ):
            if getattr(self, name) <= 0:
                raise ConfigurationError(name, got=getattr(self, name), allowed="more than 0")
        check_seed(self.seed)

    @property
    def spatial_factor(self) -> int:
        """Pixels along one side of the square that becomes one latent position."""
        return self.patch_size * 2 ** (len(self.width_multipliers) - 1)

    @property
    def temporal_factor(self) -> int:
        """Frames per latent frame, from the second latent frame on."""
        return 2 ** sum(self.temporal_downsampling)

    def build_autoencoder(
        self, latents_mean: list[float] | None = None, latents_std: list[float] | None = None
    ) -> AutoencoderKLWan:
        """The network with fresh weights; statistics that were not measured yet are 0 and 1.

        Raises:
            ConfigurationError: The widths do not divide as the network's averaging shortcuts need.
        """
        try:
            return AutoencoderKLWan(
                base_dim=self.encoder_width,
                decoder_base_dim=self.decoder_width,
                z_dim=self.num_channels,
                dim_mult=list(self.width_multipliers),
                num_res_blocks=self.num_residual_blocks,
                temperal_downsample=list(self.temporal_downsampling),
                latents_mean=latents_mean or [0.0] * self.num_channels,
                latents_std=latents_std or [1.0] * self.num_channels,
                is_residual=True,
                in_channels=3 * self.patch_size**2,
                out_channels=3 * self.patch_size**2,
                patch_size=self.patch_size,
                scale_factor_temporal=self.temporal_factor,
                scale_factor_spatial=self.spatial_factor,
            )
        except (ValueError, AssertionError) as error:
            raise ConfigurationError(
                "width_multipliers",
                got=self.width_multipliers,
                allowed="each width divides 4 or 8 times the one before, the last equals the one before it",
            ) from error
