import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from foreact.codecs.vae_files import CONFIG_FILE, WEIGHTS_FILE
from foreact.codecs.video_vae import VideoVAE
from foreact.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: Path, vae: VideoVAE) -> Path:
    vae.save(tmp_path / "vae")
    return tmp_path / "vae"


def test_round_trip_is_exact(folder: Path, vae: VideoVAE, clip: torch.Tensor):
    again = VideoVAE.from_pretrained(folder)
    assert not again.training
    torch.testing.assert_close(again.encode(clip), vae.encode(clip), rtol=0, atol=0)
    assert {path.name for path in folder.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}


def test_precision_is_chosen_on_loading(folder: Path, vae: VideoVAE, clip: torch.Tensor):
    half = VideoVAE.from_pretrained(folder, dtype=torch.bfloat16)
    assert half.autoencoder.dtype == torch.bfloat16
    latents = half.encode(clip[:, :, :1])
    assert latents.dtype == torch.float32
    assert (latents - vae.encode(clip[:, :, :1])).norm() < 0.1 * latents.norm()


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        VideoVAE.from_pretrained(folder)


@pytest.mark.parametrize("size", [0, 4, 5000])
def test_truncated_weights_are_refused(folder: Path, size: int):
    weights = folder / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="truncated or foreign"):
        VideoVAE.from_pretrained(folder)


def test_foreign_weights_are_refused(folder: Path):
    save_file({"linear.weight": torch.zeros(512, 512)}, folder / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match=r"missing: .*unknown: linear\.weight"):
        VideoVAE.from_pretrained(folder)


def test_weights_of_another_width_are_refused(folder: Path):
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"base_dim": 8}))
    with pytest.raises(CheckpointError, match="wrong shape"):
        VideoVAE.from_pretrained(folder)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "JSON"),
        ("[]", "table of names"),
        ("{}", "_class_name"),
        ('{"_class_name": "AutoencoderKL"}', "AutoencoderKLWan"),
    ],
)
def test_foreign_configurations_are_refused(folder: Path, text: str, complaint: str):
    (folder / CONFIG_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=complaint):
        VideoVAE.from_pretrained(folder)


def test_a_configuration_that_builds_no_network_is_refused(folder: Path):
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"dim_mult": [1, 2, 4]}))
    with pytest.raises(CheckpointError, match="configuration of the video VAE"):
        VideoVAE.from_pretrained(folder)


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0, 0.0])
def test_statistics_that_no_latents_have_are_refused(folder: Path, number: float):
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["latents_std"][0] = number
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"video VAE in .*latents_std"):
        VideoVAE.from_pretrained(folder)


def test_a_failed_save_keeps_the_previous_files(folder: Path, vae: VideoVAE, monkeypatch: pytest.MonkeyPatch):
    def disk_full(*_, **__):
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("foreact.codecs.vae_files.save_file", disk_full)
    with pytest.raises(OSError, match="No space left"):
        vae.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
