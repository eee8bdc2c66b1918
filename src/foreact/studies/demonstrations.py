"""What policies learn from: demonstrations that a study records itself, or datasets that are there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from foreact.codecs.video_vae import VideoVAE
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.embodiments import Embodiment, load_embodiment
from foreact.errors import DatasetError
from foreact.evaluation.demonstrations import CollectionConfig, collect
from foreact.simulation.tasks import get_task
from foreact.studies.store import lock
from foreact.studies.work import OnProgress, Work, WorkFolders, digest_of, plain_settings

TABLES = ("meta/**/*", "data/**/*.parquet")
EPISODE_SHARE = 0.65
"""Of a task's time limit that an expert's episode takes."""
RECORDED_STEP_S = 0.01
"""Of one core: a control step recorded from an expert, pictures from all cameras included."""


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Episodes of a task's scripted expert, recorded when they are first needed; the same ones on every machine."""

    kind: ClassVar[str] = "demonstrations"
    config: CollectionConfig
    """What to record."""

    @property
    def size(self) -> int:
        """Episodes."""
        return self.config.num_episodes

    @property
    def expected_s(self) -> float:
        """Seconds on one core."""
        return self.size * get_task(self.config.task).max_steps * EPISODE_SHARE * RECORDED_STEP_S

    @property
    def title(self) -> str:
        """A few words."""
        return f"{self.size} demonstrations of {self.config.task}"

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings, which decide every episode; their number counts, for the last ones are held out."""
        return plain_settings(self.config)

    def needs(self) -> Sequence[Work]:
        """Return nothing."""
        return ()

    def root(self, store: WorkFolders) -> Path:
        """Return the dataset's folder."""
        return store.folder(self) / "dataset"

    def perform(self, folder: Path, store: WorkFolders, device: str, on_progress: OnProgress) -> None:
        """Record what is missing."""
        for count in collect(self.config, self.root(store), load_embodiment("aloha")):
            on_progress(count, self.size, "")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A LeRobot dataset that is there already."""

    folder: str
    """Its folder."""

    def fingerprint(self) -> dict[str, Any]:
        """Return a digest of its tables.

        Raises:
            DatasetError: It is not there.
        """
        if not Path(self.folder, "meta").is_dir():
            raise DatasetError(f"dataset {self.folder}", got="no folder meta/ in it", cure="record it, or name another")
        return {"dataset": digest_of(self.folder, TABLES)}

    def root(self, store: WorkFolders) -> Path:
        """Return the dataset's folder."""
        return Path(self.folder)


Dataset = Demonstrations | Recorded


def encode(dataset: EpisodeDataset, vae: VideoVAE, robot: Embodiment, device: str) -> LatentCache:
    """Encode those of a dataset's episodes that are not yet; of two processes that need the same, one waits."""
    cache = LatentCache(dataset, vae.to(device), robot)
    cache.folder.mkdir(parents=True, exist_ok=True)
    with lock(cache.folder, wait=True):
        for _ in cache.encode_missing():
            pass
    return cache
