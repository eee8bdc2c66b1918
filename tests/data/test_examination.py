import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foreact.data.action_checks import check_action_and_state, check_channels, check_mapping
from foreact.data.camera_checks import CameraStrip, check_camera
from foreact.data.episodes import EpisodeDataset
from foreact.data.examination import examine, to_plain
from foreact.data.row_checks import check_gaps
from foreact.data.video import VideoSettings, encode_video
from foreact.embodiments import load_embodiment
from foreact.errors import DatasetError

WRITTEN = Path(__file__).parents[1] / "golden/lerobot_written/v0.3.3-h264/dataset"
ROBOT = Path(__file__).parents[1] / "golden/lerobot_written/so101.toml"
RNG = np.random.default_rng(0)


def said(findings) -> str:
    return "\n".join(f"{finding.severity}: {finding.error()}" for finding in findings)


@pytest.fixture
def copy(tmp_path) -> Path:
    return shutil.copytree(WRITTEN, tmp_path / "d")


def change_column(root: Path, number: int, name: str, change) -> None:
    path = root / f"data/chunk-000/episode_{number:06d}.parquet"
    table = pq.read_table(path)
    values = np.array(table.column(name).to_pylist(), np.float32)
    changed = pa.array(change(values).tolist(), table.schema.field(name).type)
    pq.write_table(table.set_column(table.column_names.index(name), name, changed), path)


def test_a_sound_dataset_has_no_errors_and_its_facts() -> None:
    examined = examine(EpisodeDataset(WRITTEN), load_embodiment(ROBOT))
    assert examined.num_errors == 0, said(examined.findings)
    assert examined.facts["episodes"] == "3, 0.00 hours, 28 rows at 15 Hz"
    assert "observation.images.front 64 x 64" in examined.facts["cameras"]
    assert examined.facts["chunk"] == "16 actions, 1.07 s, 4 latent frames"
    assert "largest difference" in said(examined.findings)
    assert {key: len(strip.pictures) for key, strip in examined.strips.items()} == {
        "observation.images.front": 18,
        "observation.images.wrist": 18,
    }
    assert examined.actions.shape == (28, 6)
    assert json.loads(json.dumps(to_plain(examined)))["findings"]


def test_what_a_loader_would_raise_is_an_error_and_the_rest_is_looked_at_all_the_same(copy) -> None:
    change_column(copy, 0, "timestamp", lambda times: times * 2)
    change_column(copy, 1, "action", lambda actions: np.where(np.arange(72).reshape(12, 6) == 40, 1e20, actions))
    film = copy / "videos/chunk-000/observation.images.wrist/episode_000002.mp4"
    film.write_bytes(film.read_bytes()[:100])
    with pytest.raises(DatasetError) as raised:
        _ = EpisodeDataset(copy).episode(0).times_s
    examined = examine(EpisodeDataset(copy))
    text = said(examined.findings)
    assert examined.num_errors == 3 and str(raised.value) in text
    assert "episode 1: action 'wrist_roll.pos', row 6; got: 1e+20" in text and "episode_000002.mp4" in text
    assert examined.findings[0].severity == "error"


def test_instructions_that_differ_by_a_letter(copy) -> None:
    path = copy / "meta/episodes.jsonl"
    lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    for line, task in zip(lines, ("Pick up the cube.", "pick up the cube", " "), strict=True):
        line["tasks"] = [task]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    text = said(examine(EpisodeDataset(copy)).findings)
    assert "almost the same; got: 'Pick up the cube.' in 1 episodes, 'pick up the cube' in 1" in text
    assert "instruction; got: an empty one" in text


@pytest.mark.parametrize(
    ("value", "named"), [(0, "black in 6"), (255, "white in 6"), (90, "one and the same picture through 1")]
)
def test_a_camera_that_shows_nothing(copy, value, named) -> None:
    frames = [np.full((64, 64, 3), value, np.uint8)] * 9
    path = copy / "videos/chunk-000/observation.images.front/episode_000000.mp4"
    path.write_bytes(encode_video(frames, fps=15, size=(64, 64), settings=VideoSettings()))
    assert f"observation.images.front {'is ' if value != 90 else 'shows '}{named}" in said(
        examine(EpisodeDataset(copy)).findings
    )


def test_pictures_of_another_size_than_announced(copy) -> None:
    path = copy / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["observation.images.front"]["shape"] = [48, 64, 3]
    path.write_text(json.dumps(info))
    assert "size of observation.images.front; got: 64 x 64; allowed: 48 x 64" in said(
        examine(EpisodeDataset(copy)).findings
    )


def test_moving_cameras_are_not_frozen() -> None:
    pictures = RNG.integers(60, 200, (6, 8, 8, 3), dtype=np.uint8)
    assert list(check_camera("c", CameraStrip(pictures=pictures, episodes=(0,) * 6))) == []


def test_gaps_and_jitter() -> None:
    even = np.arange(40) / 30
    assert check_gaps("e", even) == [] == check_gaps("e", even[:2])
    assert "1 gaps between rows; got: 133 ms after row 19; allowed: 33.3 ms" in said(
        check_gaps("e", even + (np.arange(40) >= 20) * 0.1)
    )
    assert "uneven times" in said(check_gaps("e", even + RNG.uniform(0, 0.012, 40)))


def test_channels_that_are_constant_wild_or_clipped() -> None:
    names = ("a", "b", "c", "gripper", "d")
    actions = RNG.uniform(-1, 1, (500, 5))
    actions[:, 0], actions[7, 1] = 3.0, 40.0
    actions[:, 2] = np.minimum(actions[:, 2], 0.2)
    actions[:, 3] = actions[:, 3] > 0
    text = said(check_channels(actions, names))
    assert "never change: a" in text and "'b' has outliers in 1 rows; got: 40" in text
    assert "'c' looks clipped" in text
    assert "gripper" not in text and "'d'" not in text


def test_quaternions_that_change_their_sign() -> None:
    quaternions = np.tile([0.0, 0.0, 0.6, 0.8], (10, 1))
    names = ("hand_qx", "hand_qy", "hand_qz", "hand_qw")
    assert "sign" not in said(check_channels(quaternions, names))
    quaternions[4:6] *= -1
    assert "quaternion 'hand_' changes its sign 2 times" in said(check_channels(quaternions, names))


def test_lag_and_units_of_action_and_state() -> None:
    path = np.cumsum(RNG.normal(size=(200, 2)), axis=0)
    states, actions = path[:-3], path[3:]
    text = said(check_action_and_state([actions], [states], ("a", "b"), 30))
    assert "the state follows the action; got: 3 rows later, 100 ms" in text and "differ in scale" not in text
    degrees = actions * [57.3, 1]
    assert "action and state of 'a' differ in scale" in said(
        check_action_and_state([degrees], [states], ("a", "b"), 30)
    )
    late = said(check_action_and_state([path[12:]], [path[:-12]], ("a", "b"), 30))
    assert "warning: the state follows" in late or "follows" not in late
    assert list(check_action_and_state([actions], [states[:, :1]], ("a", "b"), 30)) == []


def test_the_way_to_the_model_and_back() -> None:
    robot = load_embodiment("aloha")
    actions = RNG.uniform(0, 0.9, (20, 14))
    assert "note: a demonstration through the action mapping and back" in said(check_mapping(robot, actions, actions))
    wild = said(check_mapping(robot, actions * 10, actions))
    assert "'left_shoulder' leaves the robot's limits" in wild
    assert "entries of action; got: 7; allowed: 14" in said(check_mapping(robot, actions[:, :7], actions))


def test_a_dataset_without_actions_is_refused(copy) -> None:
    path = copy / "meta/info.json"
    info = json.loads(path.read_text())
    del info["features"]["action"]
    path.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="no such column; got: 'action'"):
        examine(EpisodeDataset(copy))
