"""Latents back to pictures, chunk by chunk: for people to look at, and for measuring imagination in pixels."""

import math

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from foreact.codecs.pixels import uint8_from_pixels
from foreact.codecs.video_vae import DecoderStream, VideoVAE
from foreact.embodiments import CameraLayout

Frames = dict[str, Shaped[np.ndarray, "_time _height _width 3"]]


class LatentViewer:
    """Decodes one rollout's latents. Only what really happened becomes the past of what is decoded next."""

    def __init__(self, vae: VideoVAE, layout: CameraLayout):
        """Begin before the first latent frame."""
        self._layout = layout
        self._device = vae.autoencoder.device
        self._streams = [vae.start_decoder_stream() for _ in layout.cameras]

    def show(self, latents: Float[Tensor, "channels frames height width"]) -> Frames:
        """Return the camera frames of observed latents; they become the past."""
        return self._decode(latents, self._streams)

    def peek(self, latents: Float[Tensor, "channels frames height width"]) -> Frames:
        """Return the camera frames of imagined latents; the past stays as it is."""
        return self._decode(latents, [stream.copy() for stream in self._streams])

    @torch.no_grad()
    def _decode(self, latents: Tensor, streams: list[DecoderStream]) -> Frames:
        parts = self._layout.split(latents.to(self._device))
        decoded = [stream.decode(part[None]) for stream, part in zip(streams, parts, strict=True)]
        return self._layout.uncompose([uint8_from_pixels(pixels) for pixels in decoded])


def squared_errors(frames: Frames, real: Frames) -> Float[np.ndarray, " time"]:
    """Return the mean squared error of each frame over all cameras' pixels, in units of the full range."""
    errors = []
    for camera, wanted in real.items():
        error = ((frames[camera].astype(np.float32) - wanted) / 255) ** 2
        errors.append(error.reshape(len(wanted), -1))
    return np.concatenate(errors, axis=1).mean(axis=1)


def hold_last(frames: Frames, num_frames: int) -> Frames:
    """Return the last frame of each camera, repeated: the guess that nothing moves."""
    return {camera: np.repeat(clip[-1:], num_frames, axis=0) for camera, clip in frames.items()}


def moving_frames(real: Frames, last: Frames, threshold: float = 1e-4) -> np.ndarray:
    """Return bool [time]: which frames differ from the last one before them, by mean squared error."""
    count = len(next(iter(real.values())))
    return squared_errors(hold_last(last, count), real) > threshold


def psnr_db(mean_squared_error: float) -> float:
    """Return the peak signal-to-noise ratio of an error in units of the full range."""
    return -10 * math.log10(max(mean_squared_error, 1e-12))
