import numpy as np
import pytest
import torch

from foreact.codecs.pixels import pixels_from_frames, uint8_from_pixels
from foreact.errors import InputError


def test_every_byte_survives_the_round_trip():
    frames = np.arange(256, dtype=np.uint8).repeat(3).reshape(4, 8, 8, 3)
    pixels = pixels_from_frames(frames)
    assert pixels.shape == (1, 3, 4, 8, 8)
    assert (pixels.min(), pixels.max()) == (-1, 1)
    np.testing.assert_array_equal(uint8_from_pixels(pixels), frames)


def test_pixels_outside_the_range_are_clamped():
    np.testing.assert_array_equal(
        uint8_from_pixels(torch.tensor([-3.0, 3.0, 0.0]).view(1, 3, 1, 1, 1)).ravel(), [0, 255, 128]
    )


def test_unrounded_bytes_are_pixels_too():
    bytes_ = np.arange(96, dtype=np.uint8).reshape(1, 4, 8, 3)
    assert torch.equal(pixels_from_frames(bytes_.astype(np.float32)), pixels_from_frames(bytes_))
    between = pixels_from_frames(np.full((1, 2, 2, 3), 127.5, np.float32))
    assert between.dtype == torch.float32 and not between.any()


@pytest.mark.parametrize("number", [-0.5, 256.0, np.nan, np.inf])
def test_numbers_that_were_never_bytes_are_refused(number: float):
    frames = np.zeros((1, 2, 2, 3), np.float32)
    frames[0, 1, 0, 2] = number
    with pytest.raises(InputError, match=r"camera frames.*0 to 255"):
        pixels_from_frames(frames)


@pytest.mark.parametrize(
    "frames", [np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3, 8, 8), np.uint8)]
)
def test_other_arrays_are_refused(frames: np.ndarray):
    with pytest.raises(InputError, match="camera frames"):
        pixels_from_frames(frames)
