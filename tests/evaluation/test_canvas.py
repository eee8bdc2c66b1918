"""Tiles, lines and films."""

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.embodiments import CameraLayout
from foreact.evaluation.canvas import FONT, mosaic, tile_size, wrap, write_film


def layout(num_cameras: int, height: int = 64, width: int = 64) -> CameraLayout:
    cameras = tuple(f"c{n}" for n in range(num_cameras))
    return CameraLayout(kind="side_by_side", cameras=cameras, height=height, width=width)


@given(st.integers(1, 500), st.integers(1, 500))
def test_a_tile_keeps_the_proportions_and_can_be_filmed(height: int, width: int) -> None:
    tall, wide = tile_size(layout(1, height, width), 256)
    assert tall == 256 and wide % 4 == 0 and abs(wide - 256 * width / height) <= 4


@pytest.mark.parametrize("num_cameras", [1, 2, 3, 4, 5])
def test_a_mosaic_shows_every_camera_of_any_size(num_cameras: int) -> None:
    cameras = layout(num_cameras, 32, 48)
    images = {c: np.full((10, 7 + n, 3), 40 * (n + 1), np.uint8) for n, c in enumerate(cameras.cameras)}
    page = mosaic(images, cameras, 64)
    assert page.shape == (64, 96 + 48 * (num_cameras // 2), 3)
    assert (page[:, :96] == 40).all()
    for n in range(1, num_cameras):
        top, left = 32 * ((n - 1) % 2), 96 + 48 * ((n - 1) // 2)
        assert (page[top : top + 32, left : left + 48] == 40 * (n + 1)).all()


def test_names_are_written_where_there_are_several_cameras() -> None:
    cameras = layout(3, 32, 48)
    images = {camera: np.full((16, 24, 3), 90, np.uint8) for camera in cameras.cameras}
    plain, named = mosaic(images, cameras, 128), mosaic(images, cameras, 128, named=True)
    changed = (plain != named).any(axis=-1)
    tiles = (changed[:, :192], changed[:64, 192:], changed[64:, 192:])
    assert all(tile[:24, :40].any() and not tile[30:].any() for tile in tiles)
    assert np.array_equal(mosaic({"c0": images["c0"]}, layout(1), 64, named=True), mosaic(images, layout(1), 64))


@given(st.text(alphabet="ab c", max_size=60), st.integers(20, 200))
def test_lines_hold_all_words_and_fit(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert " ".join(lines).split() == text.split()
    assert all(FONT.getlength(line) <= width or " " not in line for line in lines)


def test_a_line_is_as_long_as_it_may_be() -> None:
    assert wrap("pick up the white cube", 1000) == ["pick up the white cube"]


def test_a_film_shows_the_frames_at_the_camera_rate(tmp_path) -> None:
    frames = [np.full((16, 32, 3), shade, np.uint8) for shade in (0, 120, 240)]
    write_film(tmp_path / "a.mp4", frames, camera_hz=12.5)
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].average_rate == 12
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert [round(float(frame.mean())) for frame in decoded] == pytest.approx([0, 120, 240], abs=4)
