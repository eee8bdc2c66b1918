"""What pictures for people are made of: tiles of camera frames, lines of text, and films of them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from foreact.data.video import VideoSettings, encode_video
from foreact.embodiments import CameraLayout
from foreact.files import write_whole

BAR = 28
"""Height of a line of text, pixels."""
FONT = ImageFont.load_default(size=13)
BACKGROUND, INK, DIM = (24, 26, 30), (236, 238, 240), (150, 156, 164)
Colour = tuple[int, int, int]


def tile_size(layout: CameraLayout, height: int) -> tuple[int, int]:
    """Return the (height, width) of a tile in the proportions in which the policy sees; half the width is even."""
    return height, max(4, 4 * round(height * layout.width / layout.height / 4))


def resize(image: np.ndarray, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture of (height, width) `size`."""
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def mosaic(
    images: Mapping[str, np.ndarray], layout: CameraLayout, height: int, *, named: bool = False
) -> UInt8[np.ndarray, "{height} _width 3"]:
    """Return the first camera `height` pixels tall, and the others, half as large, in columns of two next to it.

    Args:
        images: Of each camera, uint8 [any height, any width, 3].
        layout: Says which cameras, in which order, and their proportions.
        height: Of the result, pixels.
        named: Write each camera's name into its picture, where there are several.
    """
    main, *others = layout.cameras
    size = tile_size(layout, height)
    small = (size[0] // 2, size[1] // 2)
    columns = -(-len(others) // 2)
    canvas = np.full((size[0], size[1] + columns * small[1], 3), BACKGROUND, np.uint8)
    canvas[:, : size[1]] = resize(images[main], size)
    places = {main: (0, 0)}
    for number, camera in enumerate(others):
        column, row = divmod(number, 2)
        top, left = row * small[0], size[1] + column * small[1]
        canvas[top : top + small[0], left : left + small[1]] = resize(images[camera], small)
        places[camera] = left, top
    return _with_names(canvas, places) if named and others else canvas


def _with_names(canvas: np.ndarray, places: Mapping[str, tuple[int, int]]) -> np.ndarray:
    """Return the picture with each camera's name in the upper left corner of its tile, given as (left, top)."""
    page = Image.fromarray(canvas)
    for camera, (left, top) in places.items():
        write_line(page, (left + 6, top + 5), camera)
    return np.asarray(page)


def write_line(page: Image.Image, place: tuple[int, int], text: str, colour: Colour = INK, anchor: str = "la") -> None:
    """Write one line into the page, legible on any picture; `place` is where its `anchor` (Pillow's names) lies."""
    ImageDraw.Draw(page).text(
        place, text, fill=colour, font=FONT, anchor=anchor, stroke_width=2, stroke_fill=BACKGROUND
    )


def wrap(text: str, width: int) -> list[str]:
    """Return the text in lines no wider than `width` pixels, unless a single word is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and FONT.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def write_film(path: Path, frames: Iterable[np.ndarray], *, camera_hz: float) -> None:
    """Write an mp4 of frames that all have the same even height and width."""
    pages = list(frames)
    height, width = pages[0].shape[:2]
    settings = VideoSettings(crf=16, pixel_format="yuv420p", keyframe_interval=25)
    film = encode_video(pages, fps=max(1, round(camera_hz)), size=(height, width), settings=settings)
    write_whole(path, film)
