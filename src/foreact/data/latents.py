"""Latents encoded once and kept beside the dataset, so that training never touches a picture again.

`DATASET/latents/KEY/episode-000000.safetensors` holds one episode; KEY names the video VAE's weights, the camera
layout and the timing, so latents of another VAE are never mistaken for these.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from foreact.codecs.pixels import pixels_from_frames
from foreact.codecs.video_vae import VideoVAE
from foreact.codecs.weights import digest_weights
from foreact.data.episodes import Episode, EpisodeDataset
from foreact.data.renaming import CAMERA_PREFIX
from foreact.embodiments import CameraLayout, Embodiment, Timing
from foreact.errors import DatasetError
from foreact.files import write_whole


class LatentCache:
    """The latents of one dataset under one VAE, camera layout and timing."""

    def __init__(self, dataset: EpisodeDataset, vae: VideoVAE, embodiment: Embodiment):
        """Open or begin the cache; encodes nothing yet.

        Args:
            dataset: Where the pictures are.
            vae: What encodes them.
            embodiment: For its cameras and rates.

        Raises:
            DatasetError: The dataset's rate or cameras are not the embodiment's.
        """
        check_dataset(dataset, embodiment)
        self._dataset = dataset
        self._vae = vae
        self._layout, self._timing = embodiment.layout, embodiment.timing
        description = {
            "layout": self._layout.to_dict(),
            "timing": self._timing.to_dict(),
            "vae": fingerprint(vae),
        }
        key = hashlib.blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.folder = dataset.root / "latents" / key
        self._description = description

    def path(self, episode: int) -> Path:
        """Return the file of one episode."""
        return self.folder / f"episode-{episode:06d}.safetensors"

    def encode_missing(self) -> Iterator[int]:
        """Encode every episode that is not there yet, yielding its number; whole files only, so it can be resumed.

        Raises:
            DatasetError: A picture cannot be read, or a file cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write(self.folder / "cache.json", json.dumps(self._description, indent=1).encode())
        for index in range(self._dataset.num_episodes):
            if self.path(index).exists():
                continue
            latents = encode_episode(self._dataset.episode(index), self._vae, self._layout, self._timing)
            self._write(self.path(index), lambda path, data=latents: save_file({"latents": data}, path))
            yield index

    def _write(self, path: Path, content: bytes | Callable[[Path], object]) -> None:
        try:
            write_whole(path, content)
        except (OSError, SafetensorError) as error:
            raise DatasetError(
                f"writing {path}", got=str(error), cure="free some space and run again: finished episodes are kept"
            ) from error

    def load(self, episode: int) -> Float[Tensor, "channels frames height width"]:
        """Return an episode's normalised latents.

        Raises:
            DatasetError: They were never encoded, or the file is damaged.
        """
        path = self.path(episode)
        if not path.exists():
            raise DatasetError("latents", got=f"no file {path}", cure="run `foreact encode` on this dataset first")
        try:
            return load_file(path)["latents"]
        except (SafetensorError, KeyError) as error:
            raise DatasetError(
                f"latents in {path}", got=str(error), cure="delete the file and run `foreact encode` again"
            ) from error


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
