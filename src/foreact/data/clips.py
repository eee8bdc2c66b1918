"""Camera clips at the size a policy sees, for training the video VAE."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from foreact.data.episodes import Episode, EpisodeDataset
from foreact.data.latents import CAMERA_PREFIX, check_dataset
from foreact.embodiments import Embodiment


class DatasetClips:
    """All camera frames of some datasets, decoded once and kept in memory, one picture per camera.

    Episodes of the datasets are interleaved, so that the last ones (which trainers hold out) come from all of them.
    """

    def __init__(self, datasets: list[EpisodeDataset], embodiment: Embodiment):
        """Check the datasets; call `load` before anything else.

        Args:
            datasets: Where the pictures are.
            embodiment: For its cameras, their sizes, and how many rows pass between frames.

        Raises:
            DatasetError: A dataset's rate or cameras are not the embodiment's.
        """
        for dataset in datasets:
            check_dataset(dataset, embodiment)
        self._layout, self._stride = embodiment.layout, embodiment.timing.camera_stride
        places = [(n / d.num_episodes, i, n) for i, d in enumerate(datasets) for n in range(d.num_episodes)]
        self._episodes = [datasets[i].episode(n) for _, i, n in sorted(places)]
        self._pictures: list[list[UInt8[np.ndarray, "time height width 3"]]] = []

    def load(self) -> Iterator[int]:
        """Decode everything, yielding the number of each episode done."""
        for index, episode in enumerate(self._episodes):
            self._pictures.append(self._decode(episode))
            yield index

    def _decode(self, episode: Episode) -> list[np.ndarray]:
        rows = list(range(0, episode.length, self._stride))
        images = {camera: episode.frames(CAMERA_PREFIX + camera, rows) for camera in self._layout.cameras}
        return [picture for _, picture in self._layout.pictures(images)]

    @property
    def num_episodes(self) -> int:
        """Episodes of all datasets."""
        return len(self._episodes)

    @property
    def num_pictures(self) -> int:
        """Cameras per episode."""
        return len(self._layout.cameras)

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self._episodes)

    def num_frames(self, episode: int) -> int:
        """Return how many camera frames an episode has."""
        return len(self._pictures[episode][0])

    def clip(self, episode: int, picture: int, start: int, num_frames: int) -> np.ndarray:
        """Return consecutive frames of one camera, uint8 [num_frames, height, width, 3]."""
        return self._pictures[episode][picture][start : start + num_frames]
