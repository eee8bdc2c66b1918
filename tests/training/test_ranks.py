"""Several processes: how they divide, and what is not for them."""

import pytest
import torch

from foreact.data.clips import DatasetClips
from foreact.errors import ConfigurationError
from foreact.training.distillation import distill
from foreact.training.ranks import ParallelConfig, Ranks, check_alone, first_process, process_number, world_size
from foreact.training.video_vae import train_video_vae
from foreact.training.video_vae_config import VideoVAETrainingConfig


@pytest.mark.parametrize("count", ["", "1", None])
def test_one_process_trains(monkeypatch, count: str | None) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if count is not None:
        monkeypatch.setenv("WORLD_SIZE", count)
    check_alone("a test")
    assert (world_size(), process_number(), first_process()) == (1, 0, True)


def test_one_of_two_is_refused_before_anything_is_read_or_written(tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not first_process() and process_number() == 1
    with pytest.raises(ConfigurationError, match=r"distillation; got: 2 \(WORLD_SIZE\).*without torchrun"):
        next(distill(tiny.policy(), "teacher", [], tmp_path / "run"))
    with pytest.raises(ConfigurationError, match="processes of a training of the video VAE"):
        train_video_vae(VideoVAETrainingConfig(), DatasetClips([], tiny.embodiment()), tmp_path / "vae")
    assert list(tmp_path.iterdir()) == []


def test_processes_divide_evenly_into_groups() -> None:
    with pytest.raises(ConfigurationError, match=r"parallel.shard; got: 4; allowed: a divisor of 6"):
        Ranks(rank=0, world=6).mesh(ParallelConfig(shard=4), torch.device("cpu"))
    with pytest.raises(ConfigurationError, match=r"parallel.shard; got: -1"):
        ParallelConfig(shard=-1)
