"""An episode to look at: what the cameras saw next to what was imagined, at the pace at which it happened."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from foreact.embodiments import Embodiment
from foreact.evaluation.canvas import BACKGROUND, BAR, DIM, Colour, mosaic, write_film, write_line
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.imagination import real_and_imagined
from foreact.policy.policy import Policy

TILE = 256
"""Height of the first camera's picture, pixels."""
GAP = 12
"""Between real and imagined, pixels."""
ACTING, WAITING = (110, 200, 130), (255, 176, 60)


@dataclass(frozen=True)
class _Page:
    """A frame of the film, but for what changes while the robot stands still."""

    left: np.ndarray
    right: np.ndarray
    chunk: int


def write_video(path: Path, policy: Policy, record: EpisodeRecord, caption: str) -> None:
    """Write an mp4 at the camera rate: real frames on the left, the imagined ones of the same instants on the right."""
    write_film(path, compose_frames(policy, record, caption), camera_hz=policy.embodiment.timing.camera_hz)


def write_comparison(path: Path, policy: Policy, episodes: Iterable[tuple[EpisodeRecord, str]]) -> None:
    """Write an mp4 of several episodes below each other, begun at the same instant; each has its caption."""
    films = [list(compose_frames(policy, record, caption)) for record, caption in episodes]
    pages = zip_longest(*films)  # an episode that is over stays as it ended
    stacked = (
        np.concatenate([film[-1] if page is None else page for film, page in zip(films, together, strict=True)])
        for together in pages
    )
    write_film(path, stacked, camera_hz=policy.embodiment.timing.camera_hz)


def compose_frames(policy: Policy, record: EpisodeRecord, caption: str) -> Iterator[np.ndarray]:
    """Yield the video's frames, uint8 [height, width, 3]; while the robot stood still, the last picture stays."""
    stride, hz = record.timing.camera_stride, record.timing.camera_hz
    begins = [step // stride for step in record.picture_steps or range(0, stride * len(record.pictures), stride)]
    ends = [*begins[1:], max(begins[-1] + 1, len(record.commands) // stride)]  # an end takes no picture of its own
    for page, begin, end in zip(_pages(policy, record), begins, ends, strict=False):
        for number in range(begin, end):
            yield _label(page, caption, number / hz, waits=number > begin)


def _pages(policy: Policy, record: EpisodeRecord) -> Iterator[_Page]:
    for index, real, imagined in real_and_imagined(policy, record):
        for k in range(len(next(iter(real.values())))):
            left = _tiles(real, k, policy.embodiment)
            right = np.full_like(left, BACKGROUND) if imagined is None else _tiles(imagined, k, policy.embodiment)
            yield _Page(left, right, index)


def _tiles(clips: Mapping[str, np.ndarray], k: int, robot: Embodiment) -> np.ndarray:
    return mosaic({camera: clip[k] for camera, clip in clips.items()}, robot.layout, TILE, named=True)


def _label(shown: _Page, caption: str, time_s: float, *, waits: bool) -> np.ndarray:
    middle = shown.left.shape[1] + GAP
    width = middle + shown.right.shape[1]
    page = Image.new("RGB", (width + width % 2, TILE + 2 * BAR), BACKGROUND)
    page.paste(Image.fromarray(shown.left), (0, BAR))
    page.paste(Image.fromarray(shown.right), (middle, BAR))
    write_line(page, (8, 7), "what the cameras saw")
    write_line(
        page, (middle + 8, 7), "what was imagined" + (f"  (chunk {shown.chunk + 1})" if shown.chunk >= 0 else "")
    )
    if waits:
        _frame(page, (0, BAR, shown.left.shape[1] - 1, BAR + TILE - 1), WAITING)
        write_line(page, (shown.left.shape[1] // 2, BAR + 6), "stands still, waits for a chunk", WAITING, anchor="ma")
    write_line(page, (8, BAR + TILE + 7), caption, DIM)
    write_line(page, (page.width - 8, BAR + TILE + 7), f"{time_s:.1f} s", WAITING if waits else ACTING, anchor="ra")
    return np.asarray(page)


def _frame(page: Image.Image, box: tuple[int, int, int, int], colour: Colour) -> None:
    ImageDraw.Draw(page).rectangle(box, outline=colour, width=3)
