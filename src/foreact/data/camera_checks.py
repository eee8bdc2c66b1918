"""Checks of a camera's pictures: black, frozen, blown out, of another size than announced."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from foreact.data.episodes import Episode, EpisodeDataset
from foreact.data.findings import Finding
from foreact.errors import DatasetError

PER_EPISODE = 6
"""Pictures of an episode, evenly spread."""
DARK, BRIGHT = 8, 247
"""Mean brightness below and above which a picture shows nothing, of 255."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraStrip:
    """Some pictures of a camera."""

    pictures: UInt8[np.ndarray, "pictures height width 3"]
    """One episode after the other."""
    episodes: tuple[int, ...]
    """The number of each picture's episode."""
    findings: tuple[Finding, ...] = ()
    """What could not be read."""


def take_strip(dataset: EpisodeDataset, episodes: list[Episode], key: str) -> CameraStrip:
    """Read some pictures of some episodes; what cannot be read becomes a finding."""
    pictures, numbers, findings = [], [], []
    for episode in episodes:
        rows = np.unique(np.linspace(0, episode.length - 1, PER_EPISODE).round().astype(int))
        try:
            found = episode.frames(key, rows)
        except DatasetError as error:
            findings.append(Finding(severity="error", what=str(error)))
            continue
        pictures.extend(found)
        numbers += [episode.number] * len(found)
    shapes = {picture.shape for picture in pictures}
    announced = dataset.frame_size(key)
    if len(shapes) > 1 or (shapes and next(iter(shapes))[:2] != announced):
        sizes = ", ".join(f"{h} x {w}" for h, w, _ in sorted(shapes))
        details = f"{announced[0]} x {announced[1]}, as in meta/info.json"
        findings.append(Finding(severity="warning", what=f"size of {key}", got=sizes, expected=details))
        pictures = [picture for picture in pictures if picture.shape == pictures[0].shape]
        numbers = numbers[: len(pictures)]
    whole = np.stack(pictures) if pictures else np.empty((0, *announced, 3), np.uint8)
    return CameraStrip(pictures=whole, episodes=tuple(numbers), findings=tuple(findings))


def check_camera(key: str, strip: CameraStrip) -> Iterator[Finding]:
    """Find cameras that show nothing, or always the same."""
    brightness = strip.pictures.mean(axis=(1, 2, 3))
    for what, wrong in (("black", brightness < DARK), ("white", brightness > BRIGHT)):
        if wrong.any():
            yield Finding(
                severity="warning",
                what=f"{key} is {what} in {wrong.sum()} of {len(wrong)} pictures",
                where=f"episode {strip.episodes[int(np.flatnonzero(wrong)[0])]}",
                hint="look at the strip: was the camera covered, or its exposure wrong?",
            )
    numbers = np.array(strip.episodes)
    frozen = []
    for number in dict.fromkeys(strip.episodes):
        own = strip.pictures[numbers == number]
        if len(own) > 2 and all(np.array_equal(own[0], other) for other in own[1:]):
            frozen.append(number)
    if frozen:
        yield Finding(
            severity="warning",
            what=f"{key} shows one and the same picture through {len(frozen)} of {len(set(strip.episodes))} episodes",
            where=f"episode {frozen[0]}",
            hint="the camera was frozen: leave it or the episode out",
        )
