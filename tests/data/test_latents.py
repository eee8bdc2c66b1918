import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from foreact.codecs.pixels import pixels_from_frames
from foreact.codecs.video_vae import VideoVAE
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import CAMERA_PREFIX, LatentCache, check_dataset, encode_episode, fingerprint
from foreact.data.recorder import DatasetWriter
from foreact.errors import DatasetError


@pytest.fixture
def dataset(tiny, tmp_path) -> EpisodeDataset:
    return tiny.dataset(tmp_path / "d", lengths=(21, 18))


def test_latents_are_those_of_the_cameras_frames_laid_side_by_side(tiny, dataset) -> None:
    """18 rows: camera frames at rows 0, 2, .. 16, and the last row again to fill latent frame 5."""
    embodiment, vae = tiny.embodiment(), tiny.vae()
    latents = encode_episode(dataset.episode(1), vae, embodiment.layout, embodiment.timing)
    assert latents.shape == (4, 6, 4, 4) and latents.dtype == torch.float32
    rows = [*range(0, 18, 2), 17, 17]
    assert len(rows) == 11
    for place, camera in enumerate(embodiment.cameras):
        clip = dataset.episode(1).frames(CAMERA_PREFIX + camera, rows)
        resized = dict(embodiment.layout.pictures({c: clip for c in embodiment.cameras}))[camera]
        alone = vae.encode(pixels_from_frames(resized))[0]
        torch.testing.assert_close(latents[..., 2 * place : 2 * place + 2], alone)


def test_encoded_once_and_kept(tiny, dataset) -> None:
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    with pytest.raises(DatasetError, match="foreact encode"):
        cache.load(0)
    assert list(cache.encode_missing()) == [0, 1]
    before = {path: path.stat().st_mtime_ns for path in cache.folder.glob("episode-*")}
    again = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    assert again.folder == cache.folder
    assert list(again.encode_missing()) == []
    assert before == {path: path.stat().st_mtime_ns for path in cache.folder.glob("episode-*")}
    layout, timing = tiny.embodiment().layout, tiny.embodiment().timing
    fresh = encode_episode(dataset.episode(1), tiny.vae(), layout, timing)
    assert torch.equal(again.load(1), fresh)


def test_an_interrupted_encoding_goes_on(tiny, dataset, monkeypatch) -> None:
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    encoding = cache.encode_missing()
    assert next(encoding) == 0
    encoding.close()
    assert list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing()) == [1]

    cache.path(1).unlink()
    real = VideoVAE.encode

    def interrupted(self, pixels):
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoVAE, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(cache.encode_missing())
    monkeypatch.setattr(VideoVAE, "encode", real)
    assert sorted(p.name for p in cache.folder.iterdir()) == ["cache.json", "episode-000000.safetensors"]
    assert list(cache.encode_missing()) == [1]


def test_latents_of_something_else_are_never_mistaken(tiny, dataset) -> None:
    embodiment, vae = tiny.embodiment(), tiny.vae()
    rescaled = VideoVAE(vae.autoencoder)
    folders = {LatentCache(dataset, vae, embodiment).folder}
    folders.add(LatentCache(dataset, tiny.vae(seed=1), embodiment).folder)
    flipped = replace(embodiment, layout=replace(embodiment.layout, cameras=("wrist", "top")))
    folders.add(LatentCache(dataset, vae, flipped).folder)
    slower = replace(embodiment, timing=replace(embodiment.timing, camera_stride=4))
    folders.add(LatentCache(dataset, vae, slower).folder)
    plain = fingerprint(rescaled)
    rescaled.autoencoder.register_to_config(latents_std=[2.0] * 4)
    assert fingerprint(rescaled) != plain
    assert len(folders) == 4
    with torch.no_grad():
        next(vae.parameters()).flatten()[0] += 1e-3
    folders.add(LatentCache(dataset, vae, embodiment).folder)
    assert len(folders) == 5


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_damaged_files(tiny, dataset, damage: str) -> None:
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    list(cache.encode_missing())
    path = cache.path(0)
    if damage == "foreign":
        save_file({"other": torch.zeros(1)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 100 if damage == "truncated" else 0])
    with pytest.raises(DatasetError, match="encode` again"):
        cache.load(0)
    assert cache.load(1).shape == (4, 6, 4, 4)


def test_the_cache_says_what_it_is(tiny, dataset) -> None:
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    list(cache.encode_missing())
    description = json.loads((cache.folder / "cache.json").read_text())
    assert description["layout"]["cameras"] == ["top", "wrist"]
    assert description["timing"]["camera_stride"] == 2
    assert cache.folder.parent == dataset.root / "latents"


def write(root: Path, *, fps: int = 50, dofs: int = 3, states: int = 3, cameras=("top", "wrist")) -> EpisodeDataset:
    names = [f"joint{n}" for n in range(max(dofs, states))]
    with DatasetWriter.create_or_resume(
        root,
        fps=fps,
        robot_type="toy",
        features={"observation.state": names[:states], "action": names[:dofs]},
        cameras={CAMERA_PREFIX + camera: (16, 16) for camera in cameras},
    ) as writer:
        writer.add_episode(
            columns={
                "observation.state": np.zeros((5, states), np.float32),
                "action": np.zeros((5, dofs), np.float32),
            },
            videos={CAMERA_PREFIX + c: [np.zeros((16, 16, 3), np.uint8)] * 5 for c in cameras},
            instruction="wait",
        )
    return EpisodeDataset(root)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"fps": 30}, "fps"),
        ({"cameras": ("top",)}, "wrist"),
        ({"dofs": 4}, "action"),
        ({"states": 2}, r"observation\.state"),
    ],
)
def test_datasets_of_another_robot_are_refused(tiny, tmp_path, wrong: dict, named: str) -> None:
    dataset = write(tmp_path / "d", **wrong)
    with pytest.raises(DatasetError, match=named):
        check_dataset(dataset, tiny.embodiment())
    with pytest.raises(DatasetError, match=named):
        LatentCache(dataset, tiny.vae(), tiny.embodiment())


def test_surplus_cameras_are_welcome(tiny, tmp_path) -> None:
    check_dataset(write(tmp_path / "d", cameras=("top", "wrist", "side")), tiny.embodiment())


def test_a_full_disk_is_said_and_loses_no_episode(tiny, tmp_path, monkeypatch):
    dataset = tiny.dataset(tmp_path / "data", lengths=(9, 9))
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    encoding = cache.encode_missing()
    next(encoding)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foreact.files.os.fsync", full)
    with pytest.raises(DatasetError, match=r"No space left.*free some space"):
        next(encoding)
    monkeypatch.undo()
    assert cache.path(0).exists() and not cache.path(1).exists()
    assert list(cache.encode_missing()) == [1]
