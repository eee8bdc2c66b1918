"""A dream to look at: as a film, and as a strip of stills."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from foreact.evaluation.canvas import BACKGROUND, BAR, DIM, INK, mosaic, resize, tile_size, wrap, write_film, write_line
from foreact.evaluation.dream import Dream
from foreact.files import write_whole

TILE = 384
"""Height of the first camera's picture in the film, pixels."""
STILL = 176
"""Height of a picture in the strip, pixels."""
MAX_STILLS = 8
MARGIN, GAP = 12, 6
"""Around the strip, and between its pictures, pixels."""


def write_dream_film(path: Path, dream: Dream) -> None:
    """Write an mp4 at the camera rate that begins with the given pictures."""
    write_film(path, compose_film(dream), camera_hz=dream.embodiment.timing.camera_hz)


def compose_film(dream: Dream) -> Iterator[np.ndarray]:
    """Yield the film's frames, uint8 [height, width, 3]: instruction, cameras, what is shown, time."""
    rate = dream.embodiment.timing.camera_hz
    for number, (chunk, images) in enumerate(dream.pictures):
        body = mosaic(images, dream.embodiment.layout, TILE, named=True)
        lines = wrap(dream.config.instruction, body.shape[1] - 16)
        top = BAR * len(lines)
        page = Image.new("RGB", (body.shape[1], top + TILE + BAR), BACKGROUND)
        for row, line in enumerate(lines):
            write_line(page, (8, row * BAR + 7), line)
        page.paste(Image.fromarray(body), (0, top))
        shown = "the picture given" if chunk < 0 else f"imagined, chunk {chunk + 1} of {len(dream.chunks)}"
        write_line(page, (8, top + TILE + 7), shown, INK if chunk < 0 else DIM)
        write_line(page, (page.width - 8, top + TILE + 7), f"{number / rate:.1f} s", anchor="ra")
        yield np.asarray(page)


def write_strip(path: Path, dream: Dream) -> None:
    """Write a PNG: a row per camera of stills evenly spaced in time, from the given picture to the last imagined."""
    strip = compose_strip(dream)
    write_whole(path, lambda target: strip.save(target, format="PNG"))


def compose_strip(dream: Dream) -> Image.Image:
    """Return the strip of stills."""
    robot, pictures = dream.embodiment, dream.pictures
    numbers = np.linspace(0, len(pictures) - 1, min(MAX_STILLS, len(pictures))).round().astype(int)
    height, width = tile_size(robot.layout, STILL)
    page_width = 2 * MARGIN + len(numbers) * (width + GAP) - GAP
    title = wrap(dream.config.instruction, page_width - 2 * MARGIN)
    top, row_height = MARGIN + BAR * len(title), height + GAP
    page = Image.new("RGB", (page_width, top + BAR + len(robot.cameras) * row_height + MARGIN), BACKGROUND)
    for row, line in enumerate(title):
        write_line(page, (MARGIN, MARGIN + row * BAR), line)
    for column, number in enumerate(numbers):
        chunk, images = pictures[number]
        left = MARGIN + column * (width + GAP)
        label = "given" if chunk < 0 else f"{number / robot.timing.camera_hz:.1f} s"
        write_line(page, (left, top + 4), label, INK if chunk < 0 else DIM)
        for row, camera in enumerate(robot.cameras):
            still = Image.fromarray(resize(images[camera], (height, width)))
            page.paste(still, (left, top + BAR + row * row_height))
            if chunk < 0 and len(robot.cameras) > 1:
                write_line(page, (left + 6, top + BAR + row * row_height + 5), camera)
    return page
