"""The causal video VAE: camera frames to normalised latent frames and back, whole clip or streaming.

The network is diffusers' `AutoencoderKLWan`, the class of Wan2.2's own VAE, at any width. It is causal: the
first frame becomes a latent frame by itself, every further `temporal_factor` frames become one more. What an
earlier frame leaves for a later one is the tail of each causal convolution's input: the *feature cache*. A
stream owns its cache, the network owns weights only, so that any number of sessions can share one network.
"""

import math
from collections.abc import Sequence
from copy import copy
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from foreact.codecs.cpu_kernels import use_cpu_kernels
from foreact.codecs.vae_files import load_autoencoder, save_autoencoder
from foreact.errors import CheckpointError, ConfigurationError, InputError
from foreact.from_diffusers import AutoencoderKLWan, WanCausalConv3d, patchify, unpatchify


class FeatureCache:
    """The tails of past frames, one entry per causal convolution of one network half.

    Entries are replaced and never written into, so a copy shares their tensors and costs one short list.
    """

    def __init__(self, network: nn.Module):
        num_convolutions = sum(isinstance(module, WanCausalConv3d) for module in network.modules())
        self._entries: list[Tensor | str | None] = [None] * num_convolutions

    @property
    def is_empty(self) -> bool:
        """True until the first frame has passed."""
        return self._entries[0] is None

    def copy(self) -> "FeatureCache":
        """An independent cache in the same state."""
        twin = copy(self)
        twin._entries = list(self._entries)
        return twin

    @property
    def signature(self) -> tuple:
        """What must be equal for caches to be joined: which entries there are, and their shapes."""
        return tuple(entry.shape[1:] if isinstance(entry, Tensor) else entry for entry in self._entries)

    def take(self, rows: slice) -> "FeatureCache":
        """The cache of some rows of the batch."""
        twin = self.copy()
        twin._entries = [entry[rows] if isinstance(entry, Tensor) else entry for entry in self._entries]
        return twin

    @staticmethod
    def join(caches: Sequence["FeatureCache"]) -> "FeatureCache":
        """One cache for a batch; the caches have the same signature."""
        twin = caches[0].copy()
        columns = zip(*(cache._entries for cache in caches), strict=True)
        twin._entries = [torch.cat(column) if isinstance(column[0], Tensor) else column[0] for column in columns]
        return twin

    def keywords(self) -> dict:
        """The keyword arguments with which diffusers' encoder and decoder read and update this cache."""
        return {"feat_cache": self._entries, "feat_idx": [0]}


class VideoVAE(nn.Module):
    """A trained causal video VAE behind normalised latents (zero mean, unit variance per channel)."""

    def __init__(self, autoencoder: AutoencoderKLWan):
        """Wrap a network.

        Args:
            autoencoder: Holds the weights and, in its configuration, `latents_mean` and `latents_std`.

        Raises:
            ConfigurationError: The latent statistics do not fit the number of channels.
        """
        super().__init__()
        self.autoencoder = autoencoder
        use_cpu_kernels(autoencoder)
        config = autoencoder.config
        mean, std = config["latents_mean"], config["latents_std"]
        finite = all(math.isfinite(number) for number in (*mean, *std))
        if (len(mean), len(std)) != (config["z_dim"], config["z_dim"]) or min(std) <= 0 or not finite:
            raise ConfigurationError(
                "latents_mean and latents_std of the VAE",
                got=f"{len(mean)} and {len(std)} numbers, smallest std {min(std, default=None)}"
                + ("" if finite else ", some not finite"),
                allowed=f"{config['z_dim']} finite numbers each, every std positive",
            )

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, dtype: torch.dtype | None = torch.float32) -> "VideoVAE":
        """The VAE stored in a folder of diffusers' layout, in evaluation mode.

        Args:
            folder: Holds `config.json` and the weights.
            dtype: Of weights and arithmetic; None: as stored.

        Raises:
            CheckpointError: The folder or a file is missing, truncated, or of another class or shape.
        """
        try:
            vae = cls(load_autoencoder(Path(folder))).eval()
        except ConfigurationError as error:
            raise CheckpointError(f"video VAE in {folder}", got=str(error)) from error
        return vae if dtype is None else vae.to(dtype)

    def save(self, folder: Path | str) -> None:
        """Write `config.json` and `diffusion_pytorch_model.safetensors`; each appears whole or not at all."""
        save_autoencoder(self.autoencoder, Path(folder))

    @property
    def patch_size(self) -> int:
        """Pixels along one side of the square folded into channels before the first convolution."""
        return self.autoencoder.config["patch_size"] or 1

    @property
    def spatial_factor(self) -> int:
        """Pixels along one side of the square that becomes one latent position."""
        return self.patch_size * 2 ** (len(self.autoencoder.config["dim_mult"]) - 1)

    @property
    def temporal_factor(self) -> int:
        """Frames per latent frame, from the second latent frame on."""
        stages = len(self.autoencoder.config["dim_mult"]) - 1
        return 2 ** sum(self.autoencoder.config["temperal_downsample"][:stages])

    @property
    def num_channels(self) -> int:
        """Channels of a latent frame."""
        return self.autoencoder.config["z_dim"]

    def latent_statistics(self) -> tuple[Float[Tensor, "channels 1 1 1"], Float[Tensor, "channels 1 1 1"]]:
        """Mean and standard deviation per channel, on the network's device, always float32."""
        config, device = self.autoencoder.config, self.autoencoder.device
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1, 1)
            for values in (config["latents_mean"], config["latents_std"])
        )
        return mean, std

    def start_stream(self) -> "EncoderStream":
        """An encoder that takes frames as a camera delivers them."""
        return EncoderStream(self)

    def start_decoder_stream(self) -> "DecoderStream":
        """A decoder that takes latent frames as a policy imagines them."""
        return DecoderStream(self)

    def encode(
        self, pixels: Float[Tensor, "batch 3 time height width"]
    ) -> Float[Tensor, "batch channels frames latent_height latent_width"]:
        """Normalised posterior means of a whole clip, float32; time = 1 + temporal_factor * m."""
        return self.start_stream().encode(pixels)

    def decode(
        self, latents: Float[Tensor, "batch channels frames latent_height latent_width"]
    ) -> Float[Tensor, "batch 3 time height width"]:
        """The pixels of a whole clip of normalised latents, float32 in [-1, 1]."""
        return self.start_decoder_stream().decode(latents)

    def moments(
        self, pixels: Float[Tensor, "batch 3 time height width"], cache: FeatureCache
    ) -> tuple[Float[Tensor, "batch channels frames h w"], Float[Tensor, "batch channels frames h w"]]:
        """Mean and log variance of the posterior, not normalised and with gradients; `cache` is updated.

        Raises:
            InputError: The clip has a shape that the network cannot take, the cache being what it is.
        """
        self.check_pixels(pixels, cache)
        patches = patchify(pixels.to(self.autoencoder.dtype), self.patch_size)
        pieces = []
        if cache.is_empty:
            pieces.append(self.autoencoder.encoder(patches[:, :, :1], **cache.keywords()))
            patches = patches[:, :, 1:]
        if patches.shape[2]:
            pieces.append(self.autoencoder.encoder(patches, **cache.keywords()))
        mean, log_variance = self.autoencoder.quant_conv(torch.cat(pieces, dim=2)).chunk(2, dim=1)
        return mean, log_variance

    def reconstruct(
        self, samples: Float[Tensor, "batch channels frames h w"], cache: FeatureCache
    ) -> Float[Tensor, "batch 3 time height width"]:
        """Pixels of latents that are not normalised, with gradients, not clamped; `cache` is updated."""
        hidden = self.autoencoder.post_quant_conv(samples.to(self.autoencoder.dtype))
        pieces = []
        if cache.is_empty:
            pieces.append(self.autoencoder.decoder(hidden[:, :, :1], first_chunk=True, **cache.keywords()))
            hidden = hidden[:, :, 1:]
        if hidden.shape[2]:
            pieces.append(self.autoencoder.decoder(hidden, **cache.keywords()))
        return unpatchify(torch.cat(pieces, dim=2), self.patch_size)

    def check_pixels(self, pixels: Tensor, cache: FeatureCache) -> None:
        """Refuse a clip that a stream in this state cannot take.

        Raises:
            InputError: Its shape is none the network can take now.
        """
        factor, step = self.spatial_factor, self.temporal_factor
        num_started = 1 if cache.is_empty else 0
        fits = (
            pixels.ndim == 5
            and pixels.shape[1] == 3
            and pixels.shape[2] > 0
            and pixels.shape[2] % step == num_started % step
            and pixels.shape[3] % factor == pixels.shape[4] % factor == 0
        )
        if not fits:
            time = f"1 + {step} * m" if num_started else f"{step} * m"
            raise InputError(
                "pixels to encode",
                got=tuple(pixels.shape),
                allowed=f"[batch, 3, {time}, height, width], height and width multiples of {factor}",
                cure=None if num_started else "only the first call of a stream holds the lone first frame",
            )


class EncoderStream:
    """One camera's encoder: equal to encoding all its frames at once, however they are split."""

    def __init__(self, vae: VideoVAE):
        self._vae = vae
        self._mean, self._std = vae.latent_statistics()
        self._cache = FeatureCache(vae.autoencoder.encoder)

    @torch.no_grad()
    def encode(
        self, pixels: Float[Tensor, "batch 3 time height width"]
    ) -> Float[Tensor, "batch channels frames latent_height latent_width"]:
        """Normalised latents of the next frames, float32.

        The first call takes 1 + temporal_factor * m frames, later ones temporal_factor * m.

        Raises:
            InputError: Another number of frames, or a size the network cannot take.
        """
        return self.encode_together([self], [pixels])[0]

    @staticmethod
    @torch.no_grad()
    def encode_together(streams: Sequence["EncoderStream"], pixels: Sequence[Tensor]) -> list[Tensor]:
        """What `encode` returns for each stream, in as few forwards as their shapes and states allow.

        Args:
            streams: All different, of one VAE; all move on, or none if the shape of any is refused.
            pixels: For each [1, 3, time, height, width].

        Raises:
            InputError: As `encode`.
        """
        alike: dict[tuple, list[int]] = {}
        for index, (stream, clip) in enumerate(zip(streams, pixels, strict=True)):
            stream._vae.check_pixels(clip, stream._cache)
            alike.setdefault((clip.shape, stream._cache.signature), []).append(index)
        latents: dict[int, Tensor] = {}
        for indices in alike.values():
            group = [streams[index] for index in indices]
            cache = group[0]._cache if len(group) == 1 else FeatureCache.join([stream._cache for stream in group])
            mean, _ = group[0]._vae.moments(torch.cat([pixels[index] for index in indices]), cache)
            encoded = (mean.float() - group[0]._mean) / group[0]._std
            size = len(encoded) // len(group)
            for place, (index, stream) in enumerate(zip(indices, group, strict=True)):
                rows = slice(place * size, (place + 1) * size)
                latents[index] = encoded[rows]
                if len(group) > 1:
                    stream._cache = cache.take(rows)
        return [latents[index] for index in range(len(streams))]

    def copy(self) -> "EncoderStream":
        """An independent stream in the same state, at the cost of one short list: for looking ahead."""
        twin = copy(self)
        twin._cache = self._cache.copy()
        return twin


class DecoderStream:
    """One picture's decoder: equal to decoding all its latent frames at once, however they are split."""

    def __init__(self, vae: VideoVAE):
        self._vae = vae
        self._mean, self._std = vae.latent_statistics()
        self._cache = FeatureCache(vae.autoencoder.decoder)

    @torch.no_grad()
    def decode(
        self, latents: Float[Tensor, "batch channels frames latent_height latent_width"]
    ) -> Float[Tensor, "batch 3 time height width"]:
        """Pixels of the next latent frames, float32 in [-1, 1]; the first one gives one frame.

        Raises:
            InputError: The latents have another number of channels, or no frames.
        """
        if latents.ndim != 5 or latents.shape[1] != self._vae.num_channels or latents.shape[2] == 0:
            raise InputError(
                "latents to decode",
                got=tuple(latents.shape),
                allowed=f"[batch, {self._vae.num_channels}, frames >= 1, height, width]",
            )
        samples = latents.float() * self._std + self._mean
        return self._vae.reconstruct(samples, self._cache).float().clamp(-1, 1)

    def copy(self) -> "DecoderStream":
        """An independent stream in the same state, at the cost of one short list."""
        twin = copy(self)
        twin._cache = self._cache.copy()
        return twin
