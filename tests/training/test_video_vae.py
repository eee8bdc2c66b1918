import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foreact.codecs.video_vae import VideoVAE
from foreact.errors import CheckpointError, ConfigurationError, DatasetError
from foreact.training.video_vae import measure_quality, train_video_vae
from foreact.training.video_vae_checkpoint import CHECKPOINT_FILE
from foreact.training.video_vae_clips import ClipSampler
from foreact.training.video_vae_config import VideoVAETrainingConfig
from foreact.training.video_vae_loss import psnr_db, saliency


class MovingSquares:
    """A bright square drifts over a grey picture; the second picture is half the size of the first."""

    num_pictures = 2

    def __init__(self, num_episodes: int = 6, num_frames: int = 22, size: int = 16):
        self._num_episodes, self._num_frames, self._size = num_episodes, num_frames, size
        self.calls = 0
        self.fail_at_call: int | None = None

    def __len__(self) -> int:
        return self._num_episodes

    def num_frames(self, episode: int) -> int:
        return self._num_frames

    def clip(self, episode: int, picture: int, start: int, num_frames: int) -> np.ndarray:
        self.calls += 1
        if self.calls == self.fail_at_call:
            raise KeyboardInterrupt
        size = self._size // (1 + picture)
        frames = np.full((num_frames, size, size, 3), 90, np.uint8)
        for t in range(num_frames):
            at = (3 * episode + start + t) % (size - 4)
            frames[t, at : at + 4, 2:6] = (250, 20, 60 + 10 * episode)
        return frames


TINY = VideoVAETrainingConfig(
    encoder_width=4,
    decoder_width=4,
    num_channels=4,
    num_steps=4,
    num_warmup_steps=1,
    batch_size=2,
    num_frames=5,
    num_held_out_episodes=1,
    checkpoint_interval=2,
)


def weights(vae: VideoVAE) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in vae.parameters()])


def train(config: VideoVAETrainingConfig, source, folder: Path) -> VideoVAE:
    return train_video_vae(config, source, folder, show_progress=False)


class Lamps(MovingSquares):
    """Two halves of a picture whose brightness differs between episodes and drifts."""

    def clip(self, episode: int, picture: int, start: int, num_frames: int) -> np.ndarray:
        times = np.arange(start, start + num_frames)[:, None, None, None]
        frames = np.empty((num_frames, self._size, self._size, 3), np.uint8)
        frames[:, :, : self._size // 2] = 128 + 100 * np.sin(2.1 * episode + times / 9)
        frames[:, :, self._size // 2 :] = 128 + 100 * np.cos(3.4 * episode - times / 7)
        return frames


def test_training_reconstructs_held_out_clips_far_better_than_the_mean_picture(tmp_path: Path):
    config = replace(TINY, encoder_width=8, decoder_width=8, num_steps=100, num_warmup_steps=5, learning_rate=1e-2)
    config = replace(config, checkpoint_interval=100, batch_size=4)
    vae = train(config, Lamps(num_episodes=12), tmp_path)
    sampler = ClipSampler(Lamps(num_episodes=12), config)
    guessed = [psnr_db(mean.expand_as(pixels), pixels) for pixels, mean in sampler.held_out(33)]
    quality = measure_quality(vae, sampler)
    assert quality.psnr_db > np.mean(guessed) + 5
    assert json.loads((tmp_path / "summary.json").read_text())["psnr_db"] == pytest.approx(quality.psnr_db, abs=0.01)


def test_normalised_latents_have_zero_mean_and_unit_variance(tmp_path: Path):
    train(TINY, MovingSquares(), tmp_path)
    vae = VideoVAE.from_pretrained(tmp_path / "vae")
    sampler = ClipSampler(MovingSquares(), TINY)
    episodes = [vae.encode(pixels) for pixels in sampler.whole_episodes(24)]
    latents = torch.cat([latents.movedim(1, 0).flatten(1) for latents in episodes], dim=1)
    torch.testing.assert_close(latents.mean(dim=1), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(dim=1), torch.ones(4), atol=1e-3, rtol=0)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path):
    whole = train(TINY, MovingSquares(), tmp_path / "whole")
    source = MovingSquares()
    ClipSampler(source, TINY)
    source.fail_at_call = source.calls + source.calls + 2 * 2 * TINY.batch_size + 5
    with pytest.raises(KeyboardInterrupt):
        train(TINY, source, tmp_path / "cut")
    assert (tmp_path / "cut" / CHECKPOINT_FILE).exists()
    source.fail_at_call = None
    resumed = train(TINY, source, tmp_path / "cut")
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_the_seed_decides(tmp_path: Path):
    runs = [train(replace(TINY, seed=seed), MovingSquares(), tmp_path / f"{i}") for i, seed in enumerate((0, 0, 1))]
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0]), weights(runs[2]))


def test_training_leaves_the_global_generator_alone(tmp_path: Path):
    before = torch.random.get_rng_state()
    train(replace(TINY, num_steps=1), MovingSquares(), tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_held_out_episodes_are_never_drawn():
    source = MovingSquares()
    drawn = set()
    clip = source.clip
    source.clip = lambda episode, *rest: (drawn.add(episode), clip(episode, *rest))[1]
    sampler = ClipSampler(source, TINY)
    for step in range(30):
        sampler.batch(step)
    sampler.whole_episodes(24)
    assert drawn == {0, 1, 2, 3, 4}


def test_saliency_marks_what_moves_and_what_is_unlike_the_mean():
    pixels = torch.zeros(1, 3, 2, 2, 2)
    pixels[0, 0, 1, 0, 0] = 1.0
    marked = saliency(pixels, torch.zeros(1, 3, 1, 2, 2))
    assert marked[0, 0, 1, 0, 0] == 1
    assert marked.sum() == 1
    mean = torch.zeros(1, 3, 1, 2, 2)
    mean[0, 1, 0, 1, 1] = 0.5
    assert saliency(torch.zeros(1, 3, 2, 2, 2), mean)[0, 0, :, 1, 1].tolist() == [1, 1]


def test_psnr_of_a_known_error():
    wanted = torch.zeros(1, 3, 1, 4, 4)
    assert psnr_db(wanted + 0.2, wanted) == pytest.approx(20.0)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path):
    train(TINY, MovingSquares(), tmp_path)
    with pytest.raises(CheckpointError, match=r"learning_rate = 0\.00"):
        train(replace(TINY, learning_rate=1e-4), MovingSquares(), tmp_path)


def test_a_truncated_checkpoint_is_refused_and_kept(tmp_path: Path):
    train(TINY, MovingSquares(), tmp_path)
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="begin anew"):
        train(TINY, MovingSquares(), tmp_path)
    assert path.stat().st_size == 1000


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train(TINY, MovingSquares(), tmp_path)
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / CHECKPOINT_FILE).write_bytes(before)

    def disk_full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foreact.training.video_vae_checkpoint.save_file", disk_full)
    with pytest.raises(OSError, match="No space left"):
        train(replace(TINY, checkpoint_interval=1), MovingSquares(), tmp_path / "new")
    assert not list((tmp_path / "new").glob("*.tmp")) + list((tmp_path / "new").glob(".*.tmp"))


def test_training_can_begin_with_another_runs_weights(tmp_path: Path):
    first = train(TINY, MovingSquares(), tmp_path / "first")
    resting = replace(TINY, num_steps=1, learning_rate=1e-12, num_frames=9)
    second = train_video_vae(resting, MovingSquares(), tmp_path / "second", initial=first, show_progress=False)
    torch.testing.assert_close(weights(second), weights(first), rtol=0, atol=1e-9)
    with pytest.raises(ConfigurationError, match="initial video VAE"):
        train_video_vae(replace(TINY, encoder_width=8), MovingSquares(), tmp_path / "third", initial=first)


def test_an_episode_shorter_than_a_clip_gives_a_shorter_clip():
    sampler = ClipSampler(MovingSquares(num_frames=8), replace(TINY, num_frames=13))
    assert {pixels.shape[2] for pixels, _ in sampler.batch(0)} == {5}


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (MovingSquares(num_episodes=1), "episodes for the video VAE"),
        (MovingSquares(num_frames=0), "episode 0"),
        (MovingSquares(size=24), "picture 1"),
    ],
)
def test_unfit_clips_are_refused(source: MovingSquares, complaint: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=complaint):
        train(TINY, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"width_multipliers": (1,)}, "stages of the VAE"),
        ({"temporal_downsampling": (True,)}, "stages of the VAE"),
        ({"num_frames": 8}, "num_frames"),
        ({"num_steps": 0}, "num_steps"),
        ({"batch_size": -1}, "batch_size"),
    ],
)
def test_impossible_settings_are_refused(changes: dict, complaint: str):
    with pytest.raises(ConfigurationError, match=complaint):
        replace(TINY, **changes)


def test_widths_that_the_network_cannot_take_are_refused():
    with pytest.raises(ConfigurationError, match="width_multipliers"):
        replace(TINY, width_multipliers=(1, 2, 4)).build_autoencoder()


def test_default_configuration_has_the_shipped_factors():
    config = VideoVAETrainingConfig()
    vae = VideoVAE(config.build_autoencoder())
    assert (config.spatial_factor, config.temporal_factor) == (vae.spatial_factor, vae.temporal_factor) == (8, 4)
