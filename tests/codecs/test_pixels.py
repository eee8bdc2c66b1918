import numpy as np
import pytest
import torch

from foreact.codecs.pixels import pixels_from_uint8, uint8_from_pixels
from foreact.errors import InputError


def test_every_byte_survives_the_round_trip():
    frames = np.arange(256, dtype=np.uint8).repeat(3).reshape(4, 8, 8, 3)
    pixels = pixels_from_uint8(frames)
    assert pixels.shape == (1, 3, 4, 8, 8)
    assert (pixels.min(), pixels.max()) == (-1, 1)
    np.testing.assert_array_equal(uint8_from_pixels(pixels), frames)


def test_pixels_outside_the_range_are_clamped():
    np.testing.assert_array_equal(
        uint8_from_pixels(torch.tensor([-3.0, 3.0, 0.0]).view(1, 3, 1, 1, 1)).ravel(), [0, 255, 128]
    )


@pytest.mark.parametrize(
    "frames", [np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3, 8, 8), np.uint8)]
)
def test_other_arrays_are_refused(frames: np.ndarray):
    with pytest.raises(InputError, match="camera frames"):
        pixels_from_uint8(frames)
