"""An episode to look at: what the cameras saw beside what was imagined, chunk by chunk."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from foreact.data.video import VideoSettings, encode_video
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.imagination import real_and_imagined
from foreact.files import write_whole
from foreact.policy.policy import Policy

TILE = 256
"""Height and width of the first camera's picture, pixels."""
BAR = 28
"""Height of a line of text, pixels."""
BACKGROUND, INK, DIM = (24, 26, 30), (236, 238, 240), (150, 156, 164)


def write_video(path: Path, policy: Policy, record: EpisodeRecord, caption: str) -> None:
    """Write an mp4 at the camera rate: real frames on the left, the imagined ones of the same instants on the right."""
    frames = list(compose_frames(policy, record, caption))
    height, width = frames[0].shape[:2]
    settings = VideoSettings(crf=16, pixel_format="yuv420p", keyframe_interval=25)
    fps = round(policy.embodiment.timing.camera_hz)
    write_whole(path, encode_video(frames, fps=fps, size=(height, width), settings=settings))


def compose_frames(policy: Policy, record: EpisodeRecord, caption: str) -> Iterator[np.ndarray]:
    """Yield the video's frames, uint8 [height, width, 3]."""
    timing = policy.embodiment.timing
    period_s, number = 1 / timing.camera_hz, 0
    for index, real, imagined in real_and_imagined(policy, record):
        for k in range(len(next(iter(real.values())))):
            left = _mosaic({camera: clip[k] for camera, clip in real.items()}, policy.embodiment.cameras)
            right = np.full_like(left, BACKGROUND)
            if imagined is not None:
                right = _mosaic({camera: clip[k] for camera, clip in imagined.items()}, policy.embodiment.cameras)
            yield _label(left, right, caption, f"{number * period_s:4.1f} s", index)
            number += 1


def _mosaic(images: Mapping[str, np.ndarray], cameras: tuple[str, ...]) -> np.ndarray:
    """Return the first camera large and the others, half as large, in a column beside it."""
    small, (main, *others) = TILE // 2, cameras
    canvas = np.full((TILE, TILE + (small if others else 0), 3), BACKGROUND, np.uint8)
    canvas[:, :TILE] = _resize(images[main], TILE)
    for row, camera in enumerate(others[:2]):
        canvas[row * small : (row + 1) * small, TILE:] = _resize(images[camera], small)
    return canvas


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def _label(left: np.ndarray, right: np.ndarray, caption: str, clock: str, chunk: int) -> np.ndarray:
    gap = np.full((TILE, 12, 3), BACKGROUND, np.uint8)
    body = np.concatenate([left, gap, right], axis=1)
    width = body.shape[1] + body.shape[1] % 2
    page = Image.new("RGB", (width, TILE + 2 * BAR), BACKGROUND)
    page.paste(Image.fromarray(body), (0, BAR))
    draw = ImageDraw.Draw(page)
    middle = left.shape[1] + 12
    draw.text((8, 8), "what the cameras saw", fill=INK)
    draw.text((middle + 8, 8), "what was imagined" + (f"  (chunk {chunk})" if chunk >= 0 else ""), fill=INK)
    draw.text((8, BAR + TILE + 8), caption, fill=DIM)
    draw.text((width - 60, BAR + TILE + 8), clock, fill=INK)
    return np.asarray(page)
