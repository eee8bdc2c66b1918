"""Several processes do not train into one folder."""

import pytest

from foreact.data.clips import DatasetClips
from foreact.errors import ConfigurationError
from foreact.recipes import get_recipe
from foreact.training.processes import check_alone
from foreact.training.run import train
from foreact.training.video_vae import train_video_vae
from foreact.training.video_vae_config import VideoVAETrainingConfig


@pytest.mark.parametrize("count", ["", "1", None])
def test_one_process_trains(monkeypatch, count: str | None) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if count is not None:
        monkeypatch.setenv("WORLD_SIZE", count)
    check_alone()


def test_one_of_two_is_refused_before_anything_is_read_or_written(tiny, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match=r"got: 2 \(WORLD_SIZE\).*without torchrun"):
        next(train(get_recipe("tiny"), [], tiny.vae(), tmp_path / "run"))
    with pytest.raises(ConfigurationError, match="processes of one training"):
        train_video_vae(VideoVAETrainingConfig(), DatasetClips([], tiny.embodiment()), tmp_path / "vae")
    assert list(tmp_path.iterdir()) == []
