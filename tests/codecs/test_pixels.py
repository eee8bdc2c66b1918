import numpy as np
import pytest
import torch
from PIL import Image

from foreact.codecs.pixels import pixels_from_frames, rgb_from_image, uint8_from_pixels
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


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bits_are_scaled_and_not_clipped(dtype):
    ramp = np.linspace(0, 65535, 64).astype(dtype)[None]
    np.testing.assert_array_equal(rgb_from_image(Image.fromarray(ramp))[0, :, 1], ramp[0] // 257)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_images_of_any_kind_become_rgb(mode):
    white = rgb_from_image(Image.new("RGB", (3, 2), (255, 255, 255)).convert(mode))
    assert white.shape == (2, 3, 3) and white.dtype == np.uint8 and white.min() == 255


@pytest.mark.parametrize(("values", "named"), [(np.float32(0.5), "floating-point"), (np.int32(70_000), "70000")])
def test_images_of_unknown_range_are_refused(values, named):
    with pytest.raises(InputError, match=named):
        rgb_from_image(Image.fromarray(np.full((2, 2), values)))
