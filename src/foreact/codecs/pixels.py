"""Camera frames as cameras give them and as the numbers a codec reads: [0, 255] and [-1, 1]."""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from foreact.errors import InputError


def pixels_from_frames(frames: np.ndarray | Tensor) -> Float[Tensor, "1 3 time height width"]:
    """Pixels in [-1, 1], float32, on the device of `frames`: x / 255 * 2 - 1.

    Args:
        frames: RGB [time, height, width, 3], uint8, or float32 from 0 to 255 (bytes that were resized unrounded).

    Raises:
        InputError: `frames` is anything else.
    """
    tensor = torch.as_tensor(frames)
    if tensor.dtype not in (torch.uint8, torch.float32) or tensor.ndim != 4 or tensor.shape[-1] != 3:
        raise InputError(
            "camera frames",
            got=f"{tensor.dtype} {tuple(tensor.shape)}",
            allowed="uint8 or float32 [time, height, width, 3]",
        )
    # Written so that it is true of NaN, too.
    if tensor.dtype == torch.float32 and not ((tensor >= 0) & (tensor <= 255)).all():
        raise InputError("camera frames", got="float32 numbers outside", allowed="0 to 255")
    return rearrange(tensor, "t h w c -> 1 c t h w").float() / 255 * 2 - 1


def uint8_from_pixels(
    pixels: Float[Tensor, "1 3 time height width"],
) -> UInt8[np.ndarray, "time height width 3"]:
    """Camera frames, rounded to the nearest byte; pixels outside [-1, 1] are clamped."""
    scaled = (pixels.detach().float().clamp(-1, 1) + 1) * 127.5
    return rearrange(scaled.round().to(torch.uint8), "1 c t h w -> t h w c").cpu().numpy()
