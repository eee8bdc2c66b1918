"""Camera frames as cameras give them and as the numbers a codec reads: [0, 255] and [-1, 1]."""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image
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


def rgb_from_image(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """Return a Pillow image of any kind as RGB bytes; 16 bits a pixel are scaled to 8, where Pillow would clip them.

    Raises:
        InputError: Its pixels are 32-bit or floating-point numbers, whose range nothing says.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.size and not (values.min() >= 0 and values.max() < 65536):
            got = f"whole numbers from {values.min()} to {values.max()}"
            raise InputError("pixels of a picture", got=got, allowed="0 to 65535", cure="save it with 8 or 16 bits")
        return np.repeat((values // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise InputError(
            "pixels of a picture", got="floating-point numbers", allowed="8 or 16 bits", cure="save it as 8-bit PNG"
        )
    return np.array(image.convert("RGB"))
