import numpy as np
import pytest

from foreact.embodiments.resizing import resize_frames


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
