"""What an episode's latents were made of, so that they are never taken for those of other pictures."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from foreact.data.episodes import Episode
from foreact.data.renaming import CAMERA_PREFIX

Stamp = tuple[str, int, int]
"""Path relative to the dataset, size in bytes, and time of the last change in nanoseconds."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The pictures of an episode, by their compressed bytes, and the files they were read from."""

    digest: str
    """Hash of the compressed pictures of all cameras and of which of them were used."""
    files: tuple[Stamp, ...]
    """As long as none of these changes, the digest need not be computed again."""

    @classmethod
    def of(cls, episode: Episode, cameras: Sequence[str], rows: Int[np.ndarray, " camera_frames"]) -> "Source":
        """Return the source of some rows of an episode.

        Raises:
            DatasetError: A film or table is missing or damaged.
        """
        digest = hashlib.blake2b(np.asarray(rows, np.int64).tobytes(), digest_size=16)
        for camera in cameras:
            digest.update(episode.picture_digest(CAMERA_PREFIX + camera))
        return cls(digest=digest.hexdigest(), files=_stamps(episode, cameras))

    def is_of(self, episode: Episode, cameras: Sequence[str], rows: Int[np.ndarray, " camera_frames"]) -> bool:
        """Whether this is the source of some rows of an episode as it is on disk now."""
        if self.files == _stamps(episode, cameras) and self.files:
            return True
        return self.digest == Source.of(episode, cameras, rows).digest

    def to_metadata(self) -> dict[str, str]:
        """Return it as the header of a safetensors file can hold it."""
        return {"source": self.digest, "files": json.dumps(self.files)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str] | None) -> "Source | None":
        """Return the inverse of `to_metadata`; None if the header says nothing of a source."""
        if not metadata or not {"source", "files"} <= set(metadata):
            return None
        files = tuple((str(path), int(size), int(time)) for path, size, time in json.loads(metadata["files"]))
        return cls(digest=metadata["source"], files=files)


def _stamps(episode: Episode, cameras: Sequence[str]) -> tuple[Stamp, ...]:
    root = episode.root
    paths: list[Path] = [episode.record.table]
    paths += [path for camera in cameras if (path := episode.film_path(CAMERA_PREFIX + camera)) is not None]
    found = []
    for path in paths:
        status = path.stat()
        found.append((str(path.relative_to(root)), status.st_size, status.st_mtime_ns))
    return (*found, (f"episode {episode.number}", episode.length, episode.record.first_index or 0))
