"""Datasets that released versions of LeRobot wrote, against what the same LeRobot returns for every row."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from foreact.data.episodes import EpisodeDataset

WRITTEN = Path(__file__).parents[1] / "golden/lerobot_written"
CAMERAS = ["observation.images.front", "observation.images.wrist"]


@pytest.fixture(scope="module", params=sorted(path.name for path in WRITTEN.iterdir() if path.is_dir()))
def pair(request):
    """A dataset, and LeRobot's items."""
    return EpisodeDataset(WRITTEN / request.param / "dataset"), np.load(WRITTEN / request.param / "items.npz")


def test_every_column_and_instruction_equals_lerobots(pair):
    dataset, items = pair
    assert (dataset.fps, dataset.robot_type, dataset.camera_keys) == (15, "so101_follower", CAMERAS)
    assert [episode.length for episode in dataset] == [9, 12, 7]
    first = 0
    for episode in dataset:
        rows = slice(first, first + episode.length)
        assert {episode.instruction} == set(items["task"][rows])
        for name in dataset.column_names:
            ours = episode.column(name)
            np.testing.assert_array_equal(ours, items[name][rows].reshape(ours.shape))
        first += episode.length
    np.testing.assert_allclose(dataset.stats["action"]["mean"], items["action"].mean(0), rtol=1e-5)


def test_every_picture_equals_lerobots(pair):
    """Of what its decoder refuses (every second frame that it wrote with hevc) the next test knows better."""
    dataset, items = pair
    for key in CAMERAS:
        assert dataset.frame_size(key) == (64, 64)
        ours = np.concatenate([episode.frames(key, range(episode.length)) for episode in dataset])
        seen = ~items["refused"]
        assert seen.sum() >= 14
        assert np.abs(ours[seen, ::4, ::4].astype(int) - items[key][seen]).max() <= 1


def test_every_picture_equals_decoding_its_film_from_the_start(pair):
    dataset, _ = pair
    for key in CAMERAS:
        if dataset.features[key]["dtype"] == "image":
            continue
        whole: dict[Path, list[np.ndarray]] = {}
        for path in dict.fromkeys(episode.film(key).path for episode in dataset):
            with av.open(str(path)) as film:
                whole[path] = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        place = dict.fromkeys(whole, 0)
        for episode in dataset:
            path = episode.film(key).path
            for row in reversed(range(episode.length)):
                np.testing.assert_array_equal(episode.frames(key, [row])[0], whole[path][place[path] + row])
            place[path] += episode.length


def test_a_dataset_of_version_2_0_has_its_statistics_as_a_whole(tmp_path):
    """Version 2.0 is 2.1 with `meta/stats.json` in the place of `meta/episodes_stats.jsonl`."""
    source = WRITTEN / "v0.3.3-h264/dataset"
    root = shutil.copytree(source, tmp_path / "d")
    (root / "meta/episodes_stats.jsonl").unlink()
    info = root / "meta/info.json"
    info.write_text(info.read_text().replace("v2.1", "v2.0"))
    assert EpisodeDataset(root).stats == {}
    (root / "meta/stats.json").write_text('{"action": {"mean": [1, 2, 3, 4, 5, 6]}}')
    dataset = EpisodeDataset(root)
    assert dataset.version == "v2.0" and dataset.stats["action"]["mean"].tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(dataset.column("action"), EpisodeDataset(source).column("action"))
