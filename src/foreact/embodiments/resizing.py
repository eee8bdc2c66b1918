"""Camera frames brought to the size a policy was trained at."""

import numpy as np
from einops import reduce
from jaxtyping import UInt8
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
