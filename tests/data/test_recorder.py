import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from foreact.data import lerobot_files, recorder
from foreact.data.episodes import EpisodeDataset
from foreact.errors import ConfigurationError, DatasetError, InputError
from foreact.folders import LOCK_FILE, OWNER_FILE


def tree(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file() and path.name not in (LOCK_FILE, OWNER_FILE)]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def uninterrupted(recordings, tmp_path_factory) -> dict[str, bytes]:
    return tree(recordings.write(tmp_path_factory.mktemp("whole")))


def test_what_is_recorded_comes_back(recordings, tmp_path):
    dataset = EpisodeDataset(recordings.write(tmp_path / "new"))
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (3, 28, 50)
    for number, episode in enumerate(dataset):
        assert episode.instruction == recordings.instructions[number]
        for name, values in recordings.columns(number).items():
            np.testing.assert_array_equal(episode.column(name), values)
        for key in recordings.cameras:
            original = np.stack(list(recordings.frames(number, key)))
            error = episode.frames(key, range(episode.length)).astype(float) - original
            assert 10 * np.log10(255**2 / np.mean(error**2)) > 35  # Harder for the codec than real frames.
    np.testing.assert_array_equal(dataset.column("index")[:, 0], np.arange(28))
    np.testing.assert_array_equal(dataset.column("task_index")[[0, 9, 23], 0], [0, 1, 0])
    np.testing.assert_array_equal(dataset.column("timestamp")[9:12, 0], np.float32([0, 0.02, 0.04]))


def test_files_look_like_those_lerobot_writes(golden, tmp_path):
    info = json.loads((golden / "meta/info.json").read_text())
    features = {name: info["features"][name]["names"] for name in ("observation.state", "action")}
    cameras = {key: (64, 96) for key in EpisodeDataset(golden).camera_keys}
    with recorder.DatasetWriter.create_or_resume(
        tmp_path, fps=50, robot_type="aloha", features=features, cameras=cameras
    ) as writer:
        for task in ("lift the red cube", "hand the cube to the left arm"):
            writer.add_episode(
                columns={name: np.zeros((2, 14)) for name in features},
                videos={key: np.zeros((2, 64, 96, 3), np.uint8) for key in cameras},
                instruction=task,
            )
    ours = json.loads((tmp_path / "meta/info.json").read_text())
    assert ours.keys() == info.keys()
    for key, feature in info["features"].items():
        assert {**ours["features"][key], "info": None} == {**feature, "info": None}
    for path in (
        "meta/tasks.parquet",
        *(f"{d}/chunk-000/file-000.parquet" for d in ("data", "meta/episodes")),
    ):
        assert pq.read_schema(tmp_path / path).equals(pq.read_schema(golden / path)), path
    ours, theirs = (
        json.loads(pq.read_schema(root / "meta/tasks.parquet").metadata[b"pandas"]) for root in (tmp_path, golden)
    )
    assert ours["index_columns"] == theirs["index_columns"] and ours["columns"] == theirs["columns"]
    ours, theirs = (
        json.loads(pq.read_schema(root / "data/chunk-000/file-000.parquet").metadata[b"huggingface"])["info"]
        for root in (tmp_path, golden)
    )
    assert ours == theirs
    stats = [json.loads((root / "meta/stats.json").read_text()) for root in (tmp_path, golden)]
    assert {key: list(value) for key, value in stats[0].items()} == {
        key: list(value) for key, value in stats[1].items()
    }


def test_resumed_recording_equals_the_uninterrupted_one(recordings, uninterrupted, tmp_path):
    for num_episodes in (1, 1, 2, 3):
        recordings.write(tmp_path, num_episodes)
    assert tree(tmp_path) == uninterrupted


@pytest.mark.parametrize("moment", range(7))
def test_interruption_at_any_file_loses_only_the_episode_in_progress(
    recordings, uninterrupted, tmp_path, monkeypatch, moment
):
    """Every episode renames 2 videos, then data, episodes, tasks, stats and info: seven moments."""
    recordings.write(tmp_path, 1)
    writer, count, replace = recordings.open(tmp_path), 0, Path.replace

    def interrupted(path, target):
        nonlocal count
        count += 1
        if count > moment:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", interrupted)
        writer.add_episode(**recordings.episode(1))
    with pytest.raises(DatasetError, match="writer is closed"):
        writer.add_episode(**recordings.episode(1))
    writer.finalize()
    survivor = EpisodeDataset(tmp_path)
    assert survivor.num_episodes == 1
    np.testing.assert_array_equal(survivor.column("action"), recordings.columns(0)["action"])
    recordings.open(tmp_path).finalize()
    assert not [name for name in tree(tmp_path) if name.endswith(".partial") or "file-001" in name]
    assert tree(recordings.write(tmp_path)) == uninterrupted


def test_interruption_before_any_file_is_in_place_leaves_nothing(recordings, uninterrupted, tmp_path, monkeypatch):
    before = tree(recordings.write(tmp_path, 1))
    with recordings.open(tmp_path) as writer:

        def interrupted(descriptor):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "fsync", interrupted)
            writer.add_episode(**recordings.episode(1))
        assert tree(tmp_path) == before
        for number in (1, 2):
            writer.add_episode(**recordings.episode(number))
    assert tree(tmp_path) == uninterrupted


def test_interruption_right_after_the_commit_duplicates_nothing(recordings, uninterrupted, tmp_path, monkeypatch):
    writer, publish = recordings.open(tmp_path), recorder.publish_files

    def interrupted(paths):
        publish(paths)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recorder, "publish_files", interrupted)
        writer.add_episode(**recordings.episode(0))
    writer.finalize()
    with recordings.open(tmp_path) as writer:
        assert writer.num_episodes == 1
    assert tree(recordings.write(tmp_path)) == uninterrupted


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import Recordings
replace, count = Path.replace, 0
def killed(path, target):
    global count
    count += 1
    if count > 1 + 7 + 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)
Path.replace = killed
Recordings().write(Path(sys.argv[1]))
"""


def test_killed_process_can_be_carried_on(recordings, uninterrupted, tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert EpisodeDataset(tmp_path).num_episodes == 1
    assert tree(recordings.write(tmp_path)) == uninterrupted


def test_full_disk_leaves_everything_as_it_was(recordings, uninterrupted, tmp_path):
    recordings.write(tmp_path, 1)
    before = tree(tmp_path)
    with recordings.open(tmp_path) as writer:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            with pytest.raises(DatasetError, match=f"cannot be written.*{os.strerror(errno.EFBIG)}.*make room"):
                writer.add_episode(**recordings.episode(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert tree(tmp_path) == before
        for number in (1, 2):
            writer.add_episode(**recordings.episode(number))
    assert tree(tmp_path) == uninterrupted


def test_many_episodes_fill_several_files_of_rows(recordings, tmp_path, monkeypatch):
    for module in (lerobot_files, recorder):
        monkeypatch.setattr(module, "EPISODES_PER_META_FILE", 2)
    for num_episodes in (1, 3, 4, 5):
        recordings.write(tmp_path, num_episodes)
    rows = [
        pq.read_table(path).column("episode_index").to_pylist() for path in sorted(tmp_path.glob("meta/episodes/*/*"))
    ]
    assert rows == [[0, 1], [2, 3], [4]]
    dataset = EpisodeDataset(tmp_path)
    expected = np.concatenate([recordings.columns(number)["action"] for number in range(5)])
    np.testing.assert_array_equal(dataset.column("action"), expected)
    np.testing.assert_allclose(dataset.stats["action"]["mean"], expected.mean(0, dtype=float), rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 25}, "fps; got: 25; allowed: 50"),
        ({"robot_type": "other"}, "robot_type; got: other; allowed: toy"),
        ({"features": {"action": ["a", "b", "c"]}}, "'observation.state'; got: none"),
        ({"cameras": {"observation.images.top": (16, 24)}}, "'observation.images.left_wrist'; got: none"),
        ({"cameras": {"observation.images.top": (32, 24)}}, "'observation.images.top'"),
    ],
)
def test_other_settings_do_not_carry_on_a_dataset(recordings, tmp_path, changes, message):
    before = tree(recordings.write(tmp_path, 1))
    with pytest.raises(DatasetError, match=message):
        recordings.open(tmp_path, **changes)
    assert tree(tmp_path) == before


def test_folder_with_other_things_is_refused(recordings, tmp_path):
    (tmp_path / "thesis.tex").write_text("do not lose me")
    with pytest.raises(DatasetError, match=r"no dataset, such as thesis\.tex"):
        recordings.open(tmp_path)
    with pytest.raises(ConfigurationError, match="a folder that can be written to"):
        recordings.open(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_dataset_laid_out_by_another_program_is_refused(recordings, tmp_path):
    path = recordings.write(tmp_path, 2) / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("data/file_index")
    pq.write_table(table.set_column(place, "data/file_index", [[0, 0]]), path)
    with pytest.raises(DatasetError, match="another program"):
        recordings.open(tmp_path)


def test_damaged_dataset_is_not_carried_on(recordings, tmp_path):
    recordings.write(tmp_path, 2)
    (tmp_path / "data/chunk-000/file-000.parquet").unlink()
    with pytest.raises(DatasetError, match=r"data/chunk-000/file-000\.parquet is missing"):
        recordings.open(tmp_path)
    (tmp_path / "meta/info.json").write_text("{")
    with pytest.raises(DatasetError, match=r"info\.json is damaged"):
        recordings.open(tmp_path)


def test_only_one_writer_at_a_time(recordings, tmp_path):
    stored = rf"process {os.getpid()} on .* writes to it; wait"
    with recordings.open(tmp_path), pytest.raises(ConfigurationError, match=stored):
        recordings.open(tmp_path)
    recordings.open(tmp_path).finalize()


def test_failed_opening_lets_go_of_the_folder(recordings, tmp_path):
    with pytest.raises(DatasetError, match="fps"):
        recordings.open(recordings.write(tmp_path, 1), fps=25)
    recordings.open(tmp_path).finalize()


def _with_nan(columns):
    columns["action"][2, 1] = np.nan


def _too_short(columns):
    columns["action"] = columns["action"][:-1]


def _missing(columns):
    del columns["action"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_with_nan, "'action', row 2, entry 1; got: nan"),
        (_too_short, r"'action'; got: \(8, 3\); allowed: \(9, 3\)"),
        (_missing, "columns of the episode"),
    ],
)
def test_columns_that_do_not_fit_write_nothing(recordings, tmp_path, spoil, message):
    with recordings.open(tmp_path) as writer:
        before, episode = tree(tmp_path), recordings.episode(0)
        spoil(episode["columns"])
        with pytest.raises(InputError, match=message):
            writer.add_episode(**episode)
        assert tree(tmp_path) == before
        writer.add_episode(**recordings.episode(0))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((8, 16, 24, 3), np.uint8), "8 frames; allowed: 9"),
        (np.zeros((9, 16, 16, 3), np.uint8), "frame 0 of 'observation.images.top'; got: uint8"),
        (np.zeros((9, 16, 24, 3), np.float32), "got: float32"),
    ],
)
def test_frames_that_do_not_fit_write_nothing(recordings, tmp_path, frames, message):
    with recordings.open(tmp_path) as writer:
        before, episode = tree(tmp_path), recordings.episode(0)
        episode["videos"]["observation.images.top"] = frames
        with pytest.raises(InputError, match=message):
            writer.add_episode(**episode)
        del episode["videos"]["observation.images.top"]
        with pytest.raises(InputError, match="cameras of the episode"):
            writer.add_episode(**episode)
        with pytest.raises(InputError, match="instruction"):
            writer.add_episode(**recordings.episode(0) | {"instruction": " "})
        assert tree(tmp_path) == before
