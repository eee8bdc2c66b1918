import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from foreact.data.episodes import EpisodeDataset
from foreact.errors import DatasetError

TOP = "observation.images.top"


@pytest.fixture(scope="module")
def written(recordings, tmp_path_factory):
    """The same three episodes in both versions."""
    root = tmp_path_factory.mktemp("both")
    return {"v3.0": recordings.write(root / "v3.0"), "v2.1": recordings.write_v21(root / "v2.1")}


@pytest.fixture
def copy(written, tmp_path):
    """A dataset of the version asked for, to be spoilt."""
    return lambda version="v3.0": shutil.copytree(written[version], tmp_path / version)


def test_golden_items_equal_lerobots(golden):
    dataset = EpisodeDataset(golden)
    tensors = load_file(golden / "expected.safetensors")
    tasks = json.loads((golden / "expected.json").read_text())
    ends = np.cumsum([episode.length for episode in dataset])
    for item in (0, 36, 37, 86, 87, 110):
        episode = dataset.episode(int(np.searchsorted(ends, item, side="right")))
        row = item - int(episode.column("index")[0, 0])
        assert episode.instruction == tasks[str(item)]["task"]
        for name in dataset.column_names:
            np.testing.assert_array_equal(episode.column(name)[row], tensors[f"{item}.{name}"].reshape(-1))
        for key in dataset.camera_keys:
            picture = episode.frames(key, [row])[0].transpose(2, 0, 1) / 255
            assert np.abs(picture - tensors[f"{item}.{key}"]).max() <= 1 / 255


def test_golden_window_over_the_end_equals_lerobots(golden):
    tensors = load_file(golden / "expected.safetensors")
    episode = EpisodeDataset(golden).episode(1)
    row = 80 - int(episode.column("index")[0, 0])
    rows, is_pad = episode.clamp(range(row, row + 16))
    np.testing.assert_array_equal(episode.column("action")[rows], tensors["window80.action"])
    np.testing.assert_array_equal(is_pad, tensors["window80.action_is_pad"])
    rows, is_pad = episode.clamp([row, row + 4, row + 8])
    np.testing.assert_array_equal(is_pad, tensors[f"window80.{TOP}_is_pad"])
    frames = episode.frames(TOP, rows).transpose(0, 3, 1, 2) / 255
    assert np.abs(frames - tensors[f"window80.{TOP}"]).max() <= 1 / 255


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_both_versions_read_the_same(recordings, written, version):
    dataset = EpisodeDataset(written[version])
    assert (dataset.fps, dataset.robot_type, len(dataset), dataset.num_frames) == (50, "toy", 3, 28)
    assert dataset.camera_keys == list(recordings.cameras)
    assert dataset.frame_size(TOP) == (16, 24)
    assert dataset.features["action"]["names"] == ["a", "b", "c"]
    for number, episode in enumerate(dataset):
        assert (episode.index, episode.length) == (number, recordings.lengths[number])
        assert episode.instruction == recordings.instructions[number]
        for name, values in recordings.columns(number).items():
            np.testing.assert_array_equal(episode.column(name), values)
        rows = [4, 0, 3, 3]
        original = np.stack(list(recordings.frames(number, TOP)))[rows].astype(int)
        assert np.abs(episode.frames(TOP, rows) - original).mean() < 4
    actions = np.concatenate([recordings.columns(number)["action"] for number in range(3)])
    np.testing.assert_array_equal(dataset.column("action"), actions)
    np.testing.assert_allclose(dataset.stats["action"]["mean"], actions.mean(0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(dataset.stats["action"]["std"], actions.std(0, dtype=float), rtol=1e-6)
    assert dataset.stats["action"]["count"] == [28]


def test_instruction_that_changes_is_the_first_rows(copy):
    root = copy("v2.1")
    lines = [json.loads(line) for line in (root / "meta/episodes.jsonl").read_text().splitlines()]
    lines[1]["tasks"] = ["lift it", "hand it over"]
    (root / "meta/episodes.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert EpisodeDataset(root).episode(1).instruction == "hand it over"


def test_dataset_of_no_episodes(recordings, tmp_path):
    recordings.open(tmp_path).finalize()
    dataset = EpisodeDataset(tmp_path)
    assert (len(dataset), dataset.num_frames, dataset.column("action").shape) == (0, 0, (0, 3))


def test_missing_root_or_meta(tmp_path):
    with pytest.raises(DatasetError, match=r"no folder .*nowhere"):
        EpisodeDataset(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"no dataset at .*meta/info\.json"):
        EpisodeDataset(tmp_path)


def test_unsupported_version_lists_the_others(copy):
    root = copy()
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"codebase_version": "v1.6"}))
    with pytest.raises(DatasetError, match=r"got: v1\.6; allowed: v3\.1, v3\.0, v2\.1, v2\.0"):
        EpisodeDataset(root)


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("v3.0", f"videos/{TOP}/chunk-000/file-001.mp4"),
        ("v3.0", "data/chunk-000/file-002.parquet"),
        ("v2.1", f"videos/chunk-000/{TOP}/episode_000001.mp4"),
        ("v2.1", "data/chunk-001/episode_000002.parquet"),
        ("v2.1", "meta/tasks.jsonl"),
        ("v3.0", "meta/tasks.parquet"),
    ],
)
def test_missing_file_is_named(copy, version, path):
    root = copy(version)
    (root / path).unlink()
    with pytest.raises(DatasetError, match=f"{path} is missing"):
        EpisodeDataset(root)


@pytest.mark.parametrize(
    "path",
    ["meta/info.json", "meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet"],
)
def test_truncated_meta_is_named(copy, path):
    path = copy() / path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=f"{path.name} is damaged"):
        EpisodeDataset(path.parents[0 if path.parent.name == "meta" else 2].parent)


def test_truncated_statistics_are_named_when_asked_for(copy):
    root = copy()
    path = root / "meta/stats.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"stats\.json is damaged"):
        dict(EpisodeDataset(root).stats)


def test_truncated_data_is_named(copy):
    root = copy()
    for path in (root / "data/chunk-000/file-001.parquet", root / f"videos/{TOP}/chunk-000/file-001.mp4"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    dataset = EpisodeDataset(root)
    with pytest.raises(DatasetError, match=r"file-001\.parquet is damaged"):
        dataset.episode(1).column("action")
    shutil.copy(root / "data/chunk-000/file-000.parquet", root / "data/chunk-000/file-001.parquet")
    with pytest.raises(DatasetError, match="rows of episode 1; got: 0; allowed: 14"):
        dataset.episode(1).column("action")
    assert dataset.episode(0).frames(TOP, [0]).shape == (1, 16, 24, 3)


def test_truncated_video_is_named(copy):
    path = copy() / f"videos/{TOP}/chunk-000/file-001.mp4"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DatasetError, match=r"file-001\.mp4 is damaged"):
        EpisodeDataset(path.parents[3]).episode(1).frames(TOP, [0])


def test_video_of_another_length(copy):
    root = copy()
    videos = root / f"videos/{TOP}/chunk-000"
    shutil.copy(videos / "file-000.mp4", videos / "file-001.mp4")
    with pytest.raises(DatasetError, match=r"file-001\.mp4; got: 9 frames; allowed: 14"):
        EpisodeDataset(root).episode(1).frames(TOP, [0])


def test_video_of_another_rate(copy):
    root = copy("v2.1")
    path = root / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    times = pa.array((np.arange(9) / 30).astype(np.float32))
    pq.write_table(table.set_column(table.column_names.index("timestamp"), "timestamp", times), path)
    with pytest.raises(DatasetError, match=r"timestamps of the rows; got: 30 Hz; allowed: 50 Hz"):
        EpisodeDataset(root).episode(0).frames(TOP, [1])


def test_what_is_asked_for_and_absent(written):
    dataset = EpisodeDataset(written["v3.0"])
    dataset.require(fps=50, columns=["action"], cameras=[TOP])
    with pytest.raises(DatasetError, match="fps; got: 50; allowed: 30"):
        dataset.require(fps=30)
    for ask in (dataset.column, dataset.episode(0).column):
        with pytest.raises(DatasetError, match=r"no such column; got: 'torque'; allowed: observation\.state, action"):
            ask("torque")
    for ask in (dataset.frame_size, lambda key: dataset.episode(0).frames(key, [0])):
        with pytest.raises(DatasetError, match=f"no such camera; got: 'front'; allowed: {TOP}, "):
            ask("front")
    for index in (-1, 3):
        with pytest.raises(DatasetError, match=f"episode; got: {index}; allowed: 0 to 2"):
            dataset.episode(index)
    for row in (-1, 9):
        with pytest.raises(DatasetError, match=f"row; got: {row}; allowed: 0 to 8"):
            dataset.episode(0).frames(TOP, [0, row])


def _rewrite_rows(root, number, change):
    path = root / f"data/chunk-000/file-{number:03d}.parquet"
    table = pq.read_table(path)
    actions = np.stack(table.column("action").to_numpy())
    table = table.set_column(1, "action", change(actions))
    pq.write_table(table, path)


def test_nan_is_found_by_row_and_column(copy):
    root = copy()

    def with_nan(actions):
        actions = actions.copy()
        actions[5, 2] = np.nan
        return pa.array(list(actions))

    _rewrite_rows(root, 1, with_nan)
    with pytest.raises(DatasetError, match="episode 1: column 'action', row 5, entry 2; got: nan"):
        EpisodeDataset(root).column("action")


def test_columns_of_another_width_or_none(copy):
    root = copy()
    _rewrite_rows(root, 0, lambda actions: pa.array(list(actions[:, :2])))
    with pytest.raises(DatasetError, match="'action'; got: 18 numbers; allowed: 9 rows of 3"):
        EpisodeDataset(root).episode(0).column("action")
    path = root / "data/chunk-000/file-001.parquet"
    pq.write_table(pq.read_table(path).drop_columns("action"), path)
    with pytest.raises(DatasetError, match="lacks the column 'action'"):
        EpisodeDataset(root).episode(1).column("action")


def test_counts_that_do_not_add_up(copy):
    root = copy()
    info = json.loads((root / "meta/info.json").read_text())
    for wrong in ({"total_episodes": 4}, {"total_frames": 27}):
        (root / "meta/info.json").write_text(json.dumps(info | wrong))
        with pytest.raises(DatasetError, match="3 episodes with 28 rows"):
            EpisodeDataset(root)
    del info["data_path"]
    (root / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="lacks an entry; got: 'data_path'"):
        EpisodeDataset(root)
