"""Camera frames brought to the size a policy was trained at."""

import numpy as np
from einops import reduce
from jaxtyping import Float32, Int, UInt8
from PIL import Image


def resize_frames(frames: np.ndarray, height: int, width: int) -> UInt8[np.ndarray, "time {height} {width} 3"]:
    """Frames of the wanted size, by the gentlest means: as they are, by averaging, or by interpolation.

    Shrinking by whole factors averages the pixels of each cell (exact); anything else is Pillow's bilinear
    filter, whose support grows with the shrinking factor (antialiased). The aspect ratio is not kept.

    Args:
        frames: uint8 [time, height, width, 3].
        height: Wanted height, pixels.
        width: Wanted width, pixels.
    """
    old_height, old_width = frames.shape[1:3]
    if (old_height, old_width) == (height, width):
        return frames
    if old_height % height == 0 and old_width % width == 0:
        cells = dict(height=height, width=width)
        means = reduce(
            frames.astype(np.float32),
            "time (height a) (width b) rgb -> time height width rgb",
            "mean",
            **cells,
        )
        return np.rint(means).astype(np.uint8)
    size, bilinear = (width, height), Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, bilinear)) for frame in frames])


def interpolate_frames(
    frames: np.ndarray, height: int, width: int
) -> UInt8[np.ndarray, "time {height} {width} 3"] | Float32[np.ndarray, "time {height} {width} 3"]:
    """Frames of the wanted size, each pixel a mean of its four nearest: what the published weights were trained on.

    Neither antialiased nor rounded to bytes: torch's `interpolate(mode="bilinear", align_corners=False)`. Frames that
    have the size already are returned as they are.

    Args:
        frames: uint8 [time, height, width, 3].
        height: Wanted height, pixels.
        width: Wanted width, pixels.
    """
    if frames.shape[1:3] == (height, width):
        return frames
    above, below, weight = _neighbours(frames.shape[1], height)
    tall = frames.astype(np.float32)
    tall = tall[:, above] + weight[:, None, None] * (tall[:, below] - tall[:, above])
    left, right, weight = _neighbours(frames.shape[2], width)
    return tall[:, :, left] + weight[:, None] * (tall[:, :, right] - tall[:, :, left])


def _neighbours(
    old: int, new: int
) -> tuple[Int[np.ndarray, " {new}"], Int[np.ndarray, " {new}"], Float32[np.ndarray, " {new}"]]:
    """Which two old pixels each new one lies between, and how near it is to the second (0 to 1)."""
    # Centres lie at half pixels. float32, as torch: in double precision places would differ by 1e-5 of a pixel.
    places = np.float32(old) / np.float32(new) * (np.arange(new, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    places = np.maximum(places, np.float32(0))
    first = np.minimum(places.astype(np.int64), old - 1)
    weight = np.minimum(places - first.astype(np.float32), np.float32(1))
    return first, np.minimum(first + 1, old - 1), weight
