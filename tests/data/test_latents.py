import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from foreact.codecs.pixels import pixels_from_frames
from foreact.codecs.video_vae import VideoVAE
from foreact.commands.main import main
from foreact.commands.progress import console
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache, check_dataset, encode_episode, fingerprint, latents_folder
from foreact.data.recorder import DatasetWriter
from foreact.data.renaming import CAMERA_PREFIX
from foreact.data.video import VideoSettings, encode_video
from foreact.errors import DatasetError
from foreact.folders import LOCK_FILE


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
    kept = sorted(path.name for path in cache.folder.iterdir() if path.name != LOCK_FILE)
    assert kept == ["cache.json", "episode-000000.safetensors"]
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


def test_an_episode_that_became_another_is_encoded_anew_or_refused(tiny, tmp_path):
    """The order of the episodes is turned round: every number is there, and of another length."""
    root = tmp_path / "d"
    lengths = (21, 18, 9)
    cache = LatentCache(tiny.dataset(root, lengths=lengths), tiny.vae(), tiny.embodiment())
    list(cache.encode_missing())
    kept = shutil.move(root / "latents", tmp_path / "kept")
    shutil.rmtree(root)
    dataset = tiny.dataset(root, lengths=lengths[::-1])
    shutil.move(kept, root / "latents")
    changed = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    for number in (0, 2):
        with pytest.raises(
            DatasetError, match=f"latents of episode {number} .* the dataset was changed.*encode` again"
        ):
            changed.load(number)
    assert set(changed.encode_missing()) >= {0, 2}
    for number in range(3):
        frames = tiny.embodiment().timing.latent_frames_in_episode(lengths[::-1][number])
        assert changed.load(number).shape[1] == frames
    assert list(changed.encode_missing()) == []


def test_other_pictures_of_the_same_length_are_noticed(tiny, dataset):
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    list(cache.encode_missing())
    films = sorted((dataset.root / "videos" / (CAMERA_PREFIX + "top")).rglob("*.mp4"))
    frames = [np.full((16, 16, 3), 9 * n, np.uint8) for n in range(21)]
    films[0].write_bytes(encode_video(frames, fps=50, size=(16, 16), settings=VideoSettings()))
    again = LatentCache(EpisodeDataset(dataset.root), tiny.vae(), tiny.embodiment())
    with pytest.raises(DatasetError, match="other pictures"):
        again.load(0)
    assert list(again.encode_missing()) == [0]


def test_a_copy_of_a_dataset_keeps_its_latents(tiny, dataset, tmp_path):
    """Times of files change, and pictures do not."""
    list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing())
    copy = EpisodeDataset(shutil.copytree(dataset.root, tmp_path / "copy", copy_function=shutil.copyfile))
    assert list(LatentCache(copy, tiny.vae(), tiny.embodiment()).encode_missing()) == []
    assert LatentCache(copy, tiny.vae(), tiny.embodiment()).load(1).shape == (4, 6, 4, 4)


def test_latents_that_do_not_say_what_they_are_of_are_encoded_anew(tiny, dataset):
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    list(cache.encode_missing())
    save_file({"latents": cache.load(0)}, cache.path(0))
    with pytest.raises(DatasetError, match="other pictures"):
        cache.load(0)
    assert list(cache.encode_missing()) == [0]


def test_latents_may_be_kept_elsewhere(tiny, dataset, tmp_path, monkeypatch):
    elsewhere = LatentCache(dataset, tiny.vae(), tiny.embodiment(), elsewhere=tmp_path / "other")
    list(elsewhere.encode_missing())
    assert elsewhere.folder.is_relative_to(tmp_path / "other") and not (dataset.root / "latents").exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for a folder that may only be read
    by_itself = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    list(by_itself.encode_missing())
    assert by_itself.folder.is_relative_to(tmp_path / "cache/foreact/latents")
    assert by_itself.load(0).shape == elsewhere.load(0).shape
    (dataset.root / "latents").mkdir()
    shutil.rmtree(tmp_path / "cache")
    assert latents_folder(dataset.root, None) == dataset.root / "latents"


def test_a_folder_that_cannot_be_made_is_said(tiny, dataset, tmp_path):
    (tmp_path / "file").write_text("")
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment(), elsewhere=tmp_path / "file")
    with pytest.raises(DatasetError, match=r"writing .*file.*--latents"):
        list(cache.encode_missing())


def contents(folder: Path) -> dict[str, tuple]:
    """What is in the files of latents: tensors, and what they say of their pictures."""
    found = {}
    for path in sorted(folder.glob("episode-*.safetensors")):
        with safe_open(path, "pt") as file:
            found[path.name] = file.get_tensor("latents").numpy().tobytes(), file.metadata()
    return found


def test_processes_share_the_episodes_and_write_what_one_writes(tiny, tmp_path, monkeypatch) -> None:
    """As `torchrun` starts them, one after the other here; killed and repeated, nothing is encoded twice."""
    monkeypatch.setattr(console, "quiet", False)  # the command quiets all processes but the first; put back afterwards
    root = tiny.dataset(tmp_path / "d", lengths=(21, 18, 15, 9, 12)).root
    tiny.vae().save(tmp_path / "vae")
    robot = tmp_path / "robot.toml"
    shutil.copy(Path(__file__).parents[1] / "training" / "toy.toml", robot)
    words = ["encode", "--data", root, "--vae", tmp_path / "vae", "--embodiment", robot]

    def encode(latents: str, rank: int, world: int) -> None:
        monkeypatch.setenv("WORLD_SIZE", str(world))
        monkeypatch.setenv("RANK", str(rank))
        main([str(word) for word in (*words, "--latents", tmp_path / latents)])

    def folder(latents: str) -> Path:
        (cache,) = (tmp_path / latents).glob("*/*/cache.json")
        return cache.parent

    encode("one", 0, 1)
    encode("two", 1, 2)
    assert not list((tmp_path / "two").glob("*/*/cache.json")), "the first process writes it"
    encode("two", 0, 2)
    one, two = contents(folder("one")), contents(folder("two"))
    assert len(one) == 5 and one == two
    names = {rank: [f"episode-{n:06d}.safetensors" for n in range(rank, 5, 2)] for rank in (0, 1)}
    (folder("two") / names[1][0]).unlink()  # as if the second process had been killed at its first episode
    before = {path.name: path.stat().st_mtime_ns for path in folder("two").glob("episode-*")}
    for rank in (0, 1):
        encode("two", rank, 2)
    after = {path.name: path.stat().st_mtime_ns for path in folder("two").glob("episode-*")}
    assert {name for name in after if after[name] != before.get(name)} == {names[1][0]}
    assert contents(folder("two")) == one
