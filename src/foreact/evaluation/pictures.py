"""An episode to look at: what the cameras saw beside what was imagined, chunk by chunk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from foreact.evaluation.canvas import BACKGROUND, BAR, DIM, mosaic, write_film, write_line
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.imagination import real_and_imagined
from foreact.policy.policy import Policy

TILE = 256
"""Height of the first camera's picture, pixels."""
GAP = 12
"""Between real and imagined, pixels."""


def write_video(path: Path, policy: Policy, record: EpisodeRecord, caption: str) -> None:
    """Write an mp4 at the camera rate: real frames on the left, the imagined ones of the same instants on the right."""
    write_film(path, compose_frames(policy, record, caption), camera_hz=policy.embodiment.timing.camera_hz)


def compose_frames(policy: Policy, record: EpisodeRecord, caption: str) -> Iterator[np.ndarray]:
    """Yield the video's frames, uint8 [height, width, 3]."""
    robot, number = policy.embodiment, 0
    for index, real, imagined in real_and_imagined(policy, record):
        for k in range(len(next(iter(real.values())))):
            left = mosaic({camera: clip[k] for camera, clip in real.items()}, robot.layout, TILE)
            right = np.full_like(left, BACKGROUND)
            if imagined is not None:
                right = mosaic({camera: clip[k] for camera, clip in imagined.items()}, robot.layout, TILE)
            yield _label(left, right, caption, f"{number / robot.timing.camera_hz:.1f} s", index)
            number += 1


def _label(left: np.ndarray, right: np.ndarray, caption: str, clock: str, chunk: int) -> np.ndarray:
    middle = left.shape[1] + GAP
    width = middle + right.shape[1]
    page = Image.new("RGB", (width + width % 2, TILE + 2 * BAR), BACKGROUND)
    page.paste(Image.fromarray(left), (0, BAR))
    page.paste(Image.fromarray(right), (middle, BAR))
    write_line(page, (8, 7), "what the cameras saw")
    write_line(page, (middle + 8, 7), "what was imagined" + (f"  (chunk {chunk})" if chunk >= 0 else ""))
    write_line(page, (8, BAR + TILE + 7), caption, DIM)
    write_line(page, (page.width - 8, BAR + TILE + 7), clock, anchor="ra")
    return np.asarray(page)
