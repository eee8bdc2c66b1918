import numpy as np
import pytest

from foreact.data.clips import DatasetClips
from foreact.data.latents import CAMERA_PREFIX
from foreact.errors import DatasetError


@pytest.fixture(scope="module")
def datasets(tiny, tmp_path_factory) -> list:
    root = tmp_path_factory.mktemp("clips")
    return [tiny.dataset(root / "a", lengths=(9, 11, 13, 15)), tiny.dataset(root / "b", lengths=(21, 24))]


def test_every_episode_of_every_dataset_interleaved(tiny, datasets) -> None:
    clips = DatasetClips(datasets, tiny.embodiment())
    assert len(clips) == 6 and clips.num_pictures == 2
    assert list(clips.load()) == list(range(6))
    # One of the two episodes of the second dataset in each half of the first one's four; stride 2.
    counts = [clips.num_frames(n) for n in range(6)]
    assert sorted(counts) == sorted([5, 6, 7, 8, 11, 12])
    assert {counts.index(11) // 3, counts.index(12) // 3} == {0, 1}


def test_clips_are_the_cameras_frames_at_the_policys_size(tiny, datasets) -> None:
    embodiment = tiny.embodiment()
    clips = DatasetClips(datasets[:1], embodiment)
    list(clips.load())
    rows = [4, 6, 8]
    images = {c: datasets[0].episode(1).frames(CAMERA_PREFIX + c, rows) for c in embodiment.cameras}
    for picture, (_, expected) in enumerate(embodiment.layout.pictures(images)):
        clip = clips.clip(1, picture, 2, 3)
        assert clip.shape == (3, 16, 8, 3) and clip.dtype == np.uint8
        assert np.array_equal(clip, expected)
    assert not np.array_equal(clips.clip(1, 0, 2, 3), clips.clip(1, 1, 2, 3))


def test_loading_goes_episode_by_episode(tiny, datasets) -> None:
    clips = DatasetClips(datasets[:1], tiny.embodiment())
    loading = clips.load()
    assert next(loading) == 0
    assert clips.num_frames(0) == 5


def test_datasets_of_another_rate_are_refused(tiny, tmp_path) -> None:
    with pytest.raises(DatasetError, match="fps"):
        DatasetClips([tiny.dataset(tmp_path / "d", lengths=(9,), fps=30)], tiny.embodiment())
