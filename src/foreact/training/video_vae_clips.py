"""Camera clips for the video VAE: where they come from and which ones a step sees."""

from collections import defaultdict
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from foreact.codecs.pixels import pixels_from_frames
from foreact.errors import DatasetError
from foreact.training.video_vae_config import VideoVAETrainingConfig

_NUM_FRAMES_FOR_MEAN = 256


@runtime_checkable
class ClipSource(Protocol):
    """Episodes of camera frames. A *picture* is one camera at the size at which the policy sees it."""

    @property
    def num_pictures(self) -> int:
        """Cameras per episode."""
        ...

    def __len__(self) -> int:
        """Number of episodes."""
        ...

    def num_frames(self, episode: int) -> int:
        """Camera frames in an episode, the same for each of its pictures."""
        ...

    def clip(self, episode: int, picture: int, start: int, num_frames: int) -> np.ndarray:
        """Consecutive frames, uint8 [num_frames, height, width, 3], RGB."""
        ...


class ClipSampler:
    """Draws the clips of a step. Step i always gets the same ones, whatever came before."""

    def __init__(self, source: ClipSource, config: VideoVAETrainingConfig):
        """Split the episodes and measure the mean picture of each camera.

        Raises:
            DatasetError: Too few episodes, one without frames, or pictures of a size the VAE cannot take.
        """
        self._source, self._config = source, config
        self._num_training = len(source) - config.num_held_out_episodes
        self._check()
        self._mean_pictures = [self._measure_mean(picture) for picture in range(source.num_pictures)]

    def batch(self, step: int) -> list[tuple[Float[Tensor, "batch 3 time height width"], Tensor]]:
        """Clips of every picture with their mean pictures; pictures of one size share a batch."""
        rng = np.random.default_rng([self._config.seed, step])
        groups = defaultdict(list)
        for picture in range(self._source.num_pictures):
            for _ in range(self._config.batch_size):
                pixels = self._draw(rng, picture)
                groups[pixels.shape].append((pixels, self._mean_pictures[picture]))
        return [_stack(clips) for clips in groups.values()]

    def held_out(self, num_frames: int) -> list[tuple[Float[Tensor, "1 3 time height width"], Tensor]]:
        """The middle of every held-out episode, one clip per picture, at most `num_frames` long."""
        clips = []
        for episode in range(self._num_training, len(self._source)):
            start, length = self._middle(episode, num_frames)
            for picture in range(self._source.num_pictures):
                frames = self._source.clip(episode, picture, start, length)
                clips.append((pixels_from_frames(frames), self._mean_pictures[picture]))
        return clips

    def whole_episodes(self, count: int) -> list[Float[Tensor, "1 3 time height width"]]:
        """Training episodes from their first frame on, spread evenly, one clip per picture."""
        chosen = np.unique(np.linspace(0, self._num_training - 1, count).astype(int))
        return [
            pixels_from_frames(self._source.clip(int(episode), picture, 0, self._whole_groups(int(episode))))
            for episode in chosen
            for picture in range(self._source.num_pictures)
        ]

    def _draw(self, rng: np.random.Generator, picture: int) -> Tensor:
        episode = int(rng.integers(self._num_training))
        length = min(self._config.num_frames, self._whole_groups(episode))
        start = int(rng.integers(self._source.num_frames(episode) - length + 1))
        return pixels_from_frames(self._source.clip(episode, picture, start, length))

    def _whole_groups(self, episode: int) -> int:
        factor = self._config.temporal_factor
        return (self._source.num_frames(episode) - 1) // factor * factor + 1

    def _middle(self, episode: int, num_frames: int) -> tuple[int, int]:
        length = min(num_frames, self._whole_groups(episode))
        return (self._source.num_frames(episode) - length) // 2, length

    def _measure_mean(self, picture: int) -> Tensor:
        rng = np.random.default_rng([self._config.seed, picture])
        frames = []
        for _ in range(_NUM_FRAMES_FOR_MEAN):
            episode = int(rng.integers(self._num_training))
            start = int(rng.integers(self._source.num_frames(episode)))
            frames.append(self._source.clip(episode, picture, start, 1))
        return pixels_from_frames(np.concatenate(frames)).mean(dim=2, keepdim=True)

    def _check(self) -> None:
        if self._num_training < 1:
            raise DatasetError(
                "episodes for the video VAE",
                got=len(self._source),
                allowed=f"more than the {self._config.num_held_out_episodes} held-out ones",
            )
        empty = [episode for episode in range(len(self._source)) if self._source.num_frames(episode) < 1]
        if empty:
            raise DatasetError(f"episode {empty[0]}", got="no frames", allowed="at least one")
        for picture in range(self._source.num_pictures):
            height, width = self._source.clip(0, picture, 0, 1).shape[1:3]
            if height % self._config.spatial_factor or width % self._config.spatial_factor:
                raise DatasetError(
                    f"picture {picture}",
                    got=f"{height} x {width} pixels",
                    allowed=f"multiples of {self._config.spatial_factor}",
                )


def _stack(clips: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    pixels, means = zip(*clips, strict=True)
    return rearrange(list(pixels), "n 1 c t h w -> n c t h w"), torch.cat(means)
