import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from foreact.embodiments.resizing import interpolate_frames, resize_frames


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (2, 48, 96, 3), dtype=np.uint8)


def test_right_size_is_left_alone(frames):
    assert resize_frames(frames, 48, 96) is frames


def test_whole_factors_average_each_cell(frames):
    small = resize_frames(frames, 16, 48)
    cell = frames[1, 3:6, 4:6].astype(float).mean(axis=(0, 1))
    np.testing.assert_array_equal(small[1, 1, 2], np.rint(cell))


@pytest.mark.parametrize("size", [(30, 50), (64, 64), (96, 192), (16, 50)])
def test_other_sizes_keep_flat_colour_and_mean(frames, size):
    flat = np.full_like(frames, 200)
    np.testing.assert_array_equal(resize_frames(flat, *size), 200)
    resized = resize_frames(frames, *size)
    assert resized.dtype == np.uint8
    np.testing.assert_allclose(resized.mean(axis=(1, 2)), frames.mean(axis=(1, 2)), atol=3)


def test_shrinking_does_not_alias():
    """A checkerboard one pixel wide becomes grey; sampling it would give black or white stripes."""
    board = (np.indices((90, 90)).sum(axis=0) % 2 * 255).astype(np.uint8)
    frames = np.repeat(board[None, :, :, None], 3, axis=3)
    assert np.abs(resize_frames(frames, 20, 20).astype(int) - 127).max() < 20


def torch_bilinear(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    pixels = torch.from_numpy(frames).float().permute(0, 3, 1, 2)
    resized = interpolate(pixels, size=(height, width), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).numpy()


SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@settings(deadline=None, max_examples=60)
@given(old=SIZES, new=SIZES, seed=st.integers(0, 99))
def test_interpolation_is_torchs(old, new, seed):
    frames = np.random.default_rng(seed).integers(0, 256, (2, *old, 3), dtype=np.uint8)
    resized = interpolate_frames(frames, *new)
    np.testing.assert_allclose(resized, torch_bilinear(frames, *new), rtol=0, atol=255 * 1e-5)
    assert resized.min() >= frames.min() and resized.max() <= frames.max()


@pytest.mark.parametrize(("old", "new"), [((240, 320), (256, 320)), ((240, 320), (128, 160)), ((480, 640), (256, 320))])
def test_interpolation_is_torchs_at_the_published_sizes(old, new):
    frames = np.random.default_rng(0).integers(0, 256, (2, *old, 3), dtype=np.uint8)
    resized = interpolate_frames(frames, *new)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, torch_bilinear(frames, *new), rtol=0, atol=255 * 1e-5)


def test_frames_of_the_right_size_are_not_interpolated(frames):
    assert interpolate_frames(frames, 48, 96) is frames


def test_interpolation_aliases():
    """The published program shrinks without a filter: black and white stripes one pixel wide stay black or white."""
    stripes = np.zeros((1, 30, 30, 3), np.uint8)
    stripes[:, :, ::2] = 255
    shrunk = interpolate_frames(stripes, 10, 10)
    assert set(np.unique(shrunk)) == {0.0, 255.0}
