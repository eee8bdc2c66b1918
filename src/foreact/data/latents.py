"""Latents encoded once and kept next to the dataset, so that training never touches a picture again.

`DATASET/latents/KEY/episode-000000.safetensors` holds one episode; KEY names the video VAE's weights, the camera
layout and the timing, so latents of another VAE are never mistaken for these. Each file says which pictures it was made
of (`foreact.data.sources`), so a dataset that was changed afterwards is noticed.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from foreact.codecs.pixels import pixels_from_frames
from foreact.codecs.video_vae import VideoVAE
from foreact.codecs.weights import digest_weights
from foreact.data.episodes import Episode, EpisodeDataset
from foreact.data.renaming import CAMERA_PREFIX
from foreact.data.sources import Source
from foreact.embodiments import CameraLayout, Embodiment, Timing
from foreact.errors import DatasetError
from foreact.files import write_whole
from foreact.folders import only_writer


class LatentCache:
    """The latents of one dataset under one VAE, camera layout and timing."""

    def __init__(
        self, dataset: EpisodeDataset, vae: VideoVAE, embodiment: Embodiment, *, elsewhere: Path | None = None
    ):
        """Open or begin the cache; encodes nothing yet.

        Args:
            dataset: Where the pictures are.
            vae: What encodes them.
            embodiment: For its cameras and rates.
            elsewhere: Folder to keep latents in instead of the dataset's own; needed for none: a dataset that may only
                be read has its latents in the user's cache folder.

        Raises:
            DatasetError: The dataset's rate or cameras are not the embodiment's.
        """
        check_dataset(dataset, embodiment)
        self._dataset = dataset
        self._vae = vae
        self._layout, self._timing = embodiment.layout, embodiment.timing
        self._description = {
            "layout": self._layout.to_dict(),
            "timing": self._timing.to_dict(),
            "vae": fingerprint(vae),
        }
        key = hashlib.blake2b(json.dumps(self._description, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.folder = latents_folder(dataset.root, elsewhere) / key

    def path(self, episode: int) -> Path:
        """Return the file of one episode."""
        return self.folder / f"episode-{episode:06d}.safetensors"

    def encode_missing(self, *, first: int = 0, step: int = 1) -> Iterator[int]:
        """Encode every episode that is not there or was another one, yielding its number; can be interrupted.

        Args:
            first: Number of the first episode to look at. Process r of w takes `first=r, step=w`: each episode then
                belongs to one process, and no two write the same file.
            step: Distance to the next one.

        Raises:
            ConfigurationError: Somebody else encodes into the same folder.
            DatasetError: A picture cannot be read, or a file cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._cannot_write(self.folder, error) from error
        # Of several processes the first holds the folder for all.
        with only_writer(self.folder) if first == 0 else nullcontext():
            yield from self._encode_missing(first, step)

    def _encode_missing(self, first: int, step: int) -> Iterator[int]:
        if first == 0:
            self._write(self.folder / "cache.json", json.dumps(self._description, indent=1).encode())
        for index in range(first, self._dataset.num_episodes, step):
            episode = self._dataset.episode(index)
            if self.path(index).exists() and self._is_of(episode):
                continue
            rows = self._rows(episode)
            source = Source.of(episode, self._layout.cameras, rows).to_metadata()
            latents = encode_episode(episode, self._vae, self._layout, self._timing)
            self._write(
                self.path(index),
                lambda path, data=latents, source=source: save_file({"latents": data}, path, metadata=source),
            )
            yield index

    def _rows(self, episode: Episode) -> Int[np.ndarray, " camera_frames"]:
        """Return the rows whose frames are encoded; past the episode's end the last one is repeated."""
        num_frames = self._timing.latent_frames_in_episode(episode.length)
        return np.minimum(self._timing.camera_rows(num_frames), episode.length - 1)

    def _is_of(self, episode: Episode) -> bool:
        """Whether an episode's file was made of the pictures that the dataset has now."""
        try:
            with safe_open(self.path(episode.index), "pt") as file:
                kept = Source.from_metadata(file.metadata())
        except SafetensorError:
            return False
        return kept is not None and kept.is_of(episode, self._layout.cameras, self._rows(episode))

    def _write(self, path: Path, content: bytes | Callable[[Path], object]) -> None:
        try:
            write_whole(path, content)
        except (OSError, SafetensorError) as error:
            raise self._cannot_write(path, error) from error

    def _cannot_write(self, path: Path, error: Exception) -> DatasetError:
        return DatasetError(
            f"writing {path}",
            got=str(error),
            cure="free some space, or name another folder with --latents, and run again: finished episodes are kept",
        )

    def load(self, episode: int) -> Float[Tensor, "channels frames height width"]:
        """Return an episode's normalised latents.

        Raises:
            DatasetError: They were never encoded, or from other pictures, or the file is damaged.
        """
        path = self.path(episode)
        if not path.exists():
            raise DatasetError("latents", got=f"no file {path}", cure="run `foreact encode` on this dataset first")
        try:
            latents = load_file(path)["latents"]
        except (SafetensorError, KeyError) as error:
            raise DatasetError(
                f"latents in {path}", got=str(error), cure="delete the file and run `foreact encode` again"
            ) from error
        if not self._is_of(self._dataset.episode(episode)):
            raise DatasetError(
                f"latents of episode {episode} of {self._dataset.root}",
                got="latents of other pictures: the dataset was changed after it was encoded",
                cure="run `foreact encode` again: it encodes what changed",
            )
        return latents


def latents_folder(root: Path, elsewhere: Path | None) -> Path:
    """Return where the latents of a dataset are kept: with it, or elsewhere where one may not write there."""
    own_name = f"{root.name}-{hashlib.blake2b(str(root).encode(), digest_size=6).hexdigest()}"
    if elsewhere is not None:
        return elsewhere.expanduser().absolute() / own_name
    beside = root / "latents"
    if os.access(beside if beside.exists() else root, os.W_OK):
        return beside
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "foreact/latents" / own_name
    return beside if beside.exists() and not cache.exists() else cache


def check_dataset(dataset: EpisodeDataset, embodiment: Embodiment) -> None:
    """Refuse a dataset that this embodiment cannot have recorded.

    Raises:
        DatasetError: Another rate, a missing camera, or a missing or misshapen action or state.
    """
    dataset.require(
        fps=embodiment.timing.action_hz,
        columns=["action", "observation.state"],
        cameras=[CAMERA_PREFIX + camera for camera in embodiment.cameras],
    )
    sizes = {"action": embodiment.num_dofs, "observation.state": embodiment.num_state_entries}
    for name, size in sizes.items():
        shape = tuple(dataset.features[name]["shape"])
        if shape != (size,):
            raise DatasetError(f"feature {name!r} of {dataset.root}", got=shape, allowed=f"({size},)")


def fingerprint(vae: VideoVAE) -> str:
    """Return a short name of the VAE's weights and latent statistics."""
    digest = digest_weights(vae)
    config = vae.autoencoder.config
    digest.update(json.dumps([list(config["latents_mean"]), list(config["latents_std"])]).encode())
    return digest.hexdigest()


@torch.no_grad()
def encode_episode(
    episode: Episode, vae: VideoVAE, layout: CameraLayout, timing: Timing
) -> Float[Tensor, "channels frames height width"]:
    """Return the latents of a whole episode, cameras laid out; past its end the last image is repeated."""
    num_frames = timing.latent_frames_in_episode(episode.length)
    rows = np.minimum(timing.camera_rows(num_frames), episode.length - 1)
    images = {camera: episode.frames(CAMERA_PREFIX + camera, rows.tolist()) for camera in layout.cameras}
    device = next(vae.parameters()).device
    encoded = [vae.encode(pixels_from_frames(clip).to(device))[0] for _, clip in layout.pictures(images)]
    return layout.assemble(encoded).float().cpu().contiguous()
