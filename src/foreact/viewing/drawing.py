"""The small pictures of the page: what is seen next to what was imagined, the imagined film, the time line."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foreact.evaluation.canvas import BACKGROUND, DIM, INK, Colour, resize

WIDTH = 400
"""Of every picture, pixels."""
SHOWN_S = 8.0
"""The time line shows the last so many seconds."""
COMPUTING, STANDING, MOVING = (86, 140, 214), (242, 170, 60), (90, 190, 140)
"""Blue, orange and green that colour-blind people can tell apart."""
_FONT = ImageFont.load_default(size=15)
_BAR, _GAP, _ROW = 24, 8, 22
_LABELS_WIDTH = 92
_SMALL_FONT, _SMALL_BAR = ImageFont.load_default(size=12), 18


def pair_picture(seen: np.ndarray, imagined: np.ndarray | None) -> np.ndarray:
    """Return what the camera sees next to what was imagined of the same moment, uint8 [height, 400, 3]."""
    side = (WIDTH - _GAP) // 2
    height = round(side * seen.shape[0] / seen.shape[1])
    page = Image.new("RGB", (WIDTH, _BAR + height), BACKGROUND)
    page.paste(Image.fromarray(resize(seen, (height, side))), (0, _BAR))
    _write(page, (2, 3), "what the camera sees")
    _write(page, (side + _GAP + 2, 3), "what was imagined")
    if imagined is None:
        _write(page, (side + _GAP + side // 2, _BAR + height // 2), "nothing", DIM, anchor="mm")
    else:
        page.paste(Image.fromarray(resize(imagined, (height, side))), (side + _GAP, _BAR))
    return np.asarray(page)


def film_picture(film: np.ndarray | None, now: int) -> np.ndarray:
    """Return the frames that the latest chunk imagines, four or eight in a row, uint8 [height, 400, 3].

    Args:
        film: uint8 [frames, height, width, 3]; None: the policy imagines nothing.
        now: Number of the frame of the present moment, which gets a border; any other number: none does.
    """
    if film is None:
        page = Image.new("RGB", (WIDTH, 60), BACKGROUND)
        _write(page, (WIDTH // 2, 30), "this policy imagines nothing", DIM, anchor="mm")
        return np.asarray(page)
    in_a_row = 4 if len(film) <= 8 else 8
    side = WIDTH // in_a_row
    height = round(side * film.shape[1] / film.shape[2])
    page = Image.new("RGB", (WIDTH, -(-len(film) // in_a_row) * height), BACKGROUND)
    for number, frame in enumerate(film):
        left, top = number % in_a_row * side, number // in_a_row * height
        page.paste(Image.fromarray(resize(frame, (height, side))), (left, top))
        if number == now:
            ImageDraw.Draw(page).rectangle((left, top, left + side - 1, top + height - 1), outline=STANDING, width=3)
    return np.asarray(page)


def dream_picture(frame: np.ndarray, time_s: float, *, is_given: bool) -> np.ndarray:
    """Return one frame of a dream, large, with its time and whether it was given or imagined, uint8 [.., 400, 3]."""
    height = round(WIDTH * frame.shape[0] / frame.shape[1])
    page = Image.new("RGB", (WIDTH, _BAR + height), BACKGROUND)
    page.paste(Image.fromarray(resize(frame, (height, WIDTH))), (0, _BAR))
    _write(page, (2, 3), "the picture given" if is_given else "imagined", INK if is_given else STANDING)
    _write(page, (WIDTH - 2, 3), f"{time_s:.1f} s", DIM, anchor="ra")
    return np.asarray(page)


@dataclass(frozen=True, eq=False)
class HeatTile:
    """One picture and where on it a policy looked."""

    picture: np.ndarray
    """uint8 [height, width, 3]."""
    heat: np.ndarray
    """float [rows, columns]: share of the attention on each patch."""
    label: str
    is_imagined: bool = False


def attention_picture(tiles: Sequence[HeatTile], on_actions: float) -> np.ndarray:
    """Return pictures side by side, four in a row, brighter and orange where the policy looked; uint8 [.., 400, 3].

    Args:
        tiles: Remembered and imagined pictures. All have one scale: the most that any patch has.
        on_actions: The share of the attention that is on no picture.
    """
    side, rows = WIDTH // 4, -(-len(tiles) // 4)
    page = Image.new("RGB", (WIDTH, rows * (side + _SMALL_BAR) + _BAR), BACKGROUND)
    most = max((float(tile.heat.max()) for tile in tiles), default=1.0) or 1.0
    for number, tile in enumerate(tiles):
        left, top = number % 4 * side, number // 4 * (side + _SMALL_BAR)
        page.paste(Image.fromarray(_heated(tile, most, side)), (left, top + _SMALL_BAR))
        ink = STANDING if tile.is_imagined else INK
        ImageDraw.Draw(page).text((left + 2, top + 2), tile.label, fill=ink, font=_SMALL_FONT)
        share = f"{tile.heat.sum():.0%}"
        ImageDraw.Draw(page).text((left + side - 4, top + 2), share, fill=DIM, font=_SMALL_FONT, anchor="ra")
    words = f"orange labels: imagined. On actions, not on pictures: {on_actions:.0%}"
    ImageDraw.Draw(page).text((2, page.height - _BAR + 4), words, fill=DIM, font=_SMALL_FONT)
    return np.asarray(page)


def _heated(tile: HeatTile, most: float, side: int) -> np.ndarray:
    """Return a picture, dark where nobody looked and orange where the policy looked most."""
    weight = Image.fromarray(np.float32(tile.heat / most)).resize((side, side), Image.Resampling.BICUBIC)
    weight = np.clip(np.asarray(weight), 0, 1)[..., None]
    picture = resize(tile.picture, (side, side)).astype(np.float32)
    heated = (0.45 + 0.3 * weight) * picture * (1 - 0.6 * weight) + 0.6 * weight * np.array(STANDING)
    return heated.astype(np.uint8)


def time_line(
    computing: Sequence[tuple[float, float]], standing: Sequence[tuple[float, float]], time_s: float
) -> np.ndarray:
    """Return when the last seconds were spent computing, moving and standing still, uint8 [height, 400, 3]."""
    page = Image.new("RGB", (WIDTH, 2 * _ROW + 2 * _GAP + 18), BACKGROUND)
    end_s = max(SHOWN_S, time_s)
    _write(page, (2, 5), "computing")
    _write(page, (2, 5 + _ROW + _GAP), "robot")
    _bars(page, 4, [(0.0, time_s)], end_s, (52, 56, 64))
    _bars(page, 4, computing, end_s, COMPUTING)
    _bars(page, 4 + _ROW + _GAP, [(0.0, time_s)], end_s, MOVING)
    _bars(page, 4 + _ROW + _GAP, standing, end_s, STANDING)
    _legend(page, 2 * _ROW + 2 * _GAP)
    return np.asarray(page)


def _bars(page: Image.Image, top: int, spans: Sequence[tuple[float, float]], end_s: float, colour: Colour) -> None:
    draw, scale = ImageDraw.Draw(page), (WIDTH - _LABELS_WIDTH) / SHOWN_S
    for begin_s, stop_s in spans:
        left, right = (_LABELS_WIDTH + (at_s - end_s + SHOWN_S) * scale for at_s in (begin_s, stop_s))
        if right > _LABELS_WIDTH and stop_s > begin_s:
            draw.rectangle((max(left, _LABELS_WIDTH), top, min(right, WIDTH), top + _ROW - 4), fill=colour)


def _legend(page: Image.Image, top: int) -> None:
    draw, left = ImageDraw.Draw(page), _LABELS_WIDTH
    for word, colour in (("moves", MOVING), ("stands still", STANDING)):
        draw.rectangle((left, top + 3, left + 11, top + 14), fill=colour)
        _write(page, (left + 17, top), word, DIM)
        left += 90
    _write(page, (WIDTH - 2, top), f"last {SHOWN_S:.0f} s", DIM, anchor="ra")


def _write(page: Image.Image, place: tuple[int, int], text: str, colour: Colour = INK, *, anchor: str = "la") -> None:
    ImageDraw.Draw(page).text(place, text, fill=colour, font=_FONT, anchor=anchor)
