"""Datasets as other programs, and people, leave them: each reads right, or is refused with the reason."""

import io
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from foreact.data import row_store
from foreact.data.episodes import EpisodeDataset
from foreact.data.renaming import parse_renames, propose_renames
from foreact.data.video import VideoSettings, encode_video
from foreact.errors import DatasetError

TOP = "observation.images.top"
FPS, SIZE = 50, (16, 24)


@pytest.fixture(scope="module")
def written(recordings, tmp_path_factory):
    root = tmp_path_factory.mktemp("both")
    return {"v3.0": recordings.write(root / "v3.0"), "v2.1": recordings.write_v21(root / "v2.1")}


@pytest.fixture
def copy(written, tmp_path):
    return lambda version="v3.0": shutil.copytree(written[version], tmp_path / version)


def change_info(root, change):
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def change_table(path, **columns):
    table = pq.read_table(path)
    for name, values in columns.items():
        table = (
            table.drop_columns(name)
            if values is None
            else table.set_column(table.column_names.index(name), name, pa.array(values))
        )
    pq.write_table(table, path)


def one_film(recordings, root, *, surplus=0, starts=None, fps=FPS):
    """Put all episodes of a version 3.0 dataset into one parquet file and one film per camera, as LeRobot does."""
    lengths = recordings.lengths
    tables = [pq.read_table(root / f"data/chunk-000/file-{n:03d}.parquet") for n in range(3)]
    pq.write_table(pa.concat_tables(tables), root / "data/chunk-000/file-000.parquet")
    for key in recordings.cameras:
        every = [frame for n in range(3) for frame in recordings.frames(n, key)]
        every += every[-1:] * surplus
        content = encode_video(every, fps=fps, size=SIZE, settings=VideoSettings())
        (root / f"videos/{key}/chunk-000/file-000.mp4").write_bytes(content)
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) / FPS if starts is None else starts
    changes = {"data/file_index": [0] * 3}
    for key in recordings.cameras:
        changes |= {f"videos/{key}/file_index": [0] * 3, f"videos/{key}/from_timestamp": list(map(float, starts))}
    change_table(path, **changes)
    return root


def check_frames(recordings, dataset, key=TOP, numbers=range(3)):
    for episode, number in zip(dataset, numbers, strict=True):
        frames = episode.frames(key, range(episode.length)).astype(int)
        original = np.stack(list(recordings.frames(number, TOP))).astype(int)
        errors = np.abs(frames[:, None] - original[None]).mean((2, 3, 4))
        assert errors.argmin(1).tolist() == list(range(episode.length)) and np.diag(errors).max() < 4


@pytest.mark.parametrize("name", ["__index_level_0__", "instruction"])
def test_the_column_of_instructions_may_have_any_name(copy, name):
    root = copy()
    path = root / "meta/tasks.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.table({"task_index": table.column("task_index"), name: table.column("task")}), path)
    change_table(root / "meta/episodes/chunk-000/file-000.parquet", tasks=None)
    assert [e.instruction for e in EpisodeDataset(root)] == ["lift it", "hand it over", "lift it"]


def test_a_table_without_instructions_is_refused(copy):
    root = copy()
    pq.write_table(pa.table({"task_index": [0, 1]}), root / "meta/tasks.parquet")
    with pytest.raises(DatasetError, match=r"tasks\.parquet; got: columns task_index; allowed: task_index, and"):
        EpisodeDataset(root)


def test_a_task_that_no_table_has_is_named(copy):
    root = copy()
    change_table(root / "meta/episodes/chunk-000/file-000.parquet", tasks=None)
    change_table(root / "data/chunk-000/file-001.parquet", task_index=[7] * 14)
    with pytest.raises(
        DatasetError, match="episode 1: task_index; got: 7; allowed: a number in the table of tasks: 0, 1"
    ):
        _ = EpisodeDataset(root).episode(1).instruction


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x1c"])
def test_only_a_line_feed_ends_a_line(copy, separator):
    root = copy("v2.1")
    path = root / "meta/episodes.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["tasks"] = [f"lift{separator}it"]
    text = "\r\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_bytes("\ufeff".encode() + text.encode())
    assert EpisodeDataset(root).episode(0).instruction == f"lift{separator}it"


def test_numbers_may_have_gaps(recordings, copy):
    root = copy("v2.1")
    for path in [*root.rglob("episode_000001.*")]:
        path.unlink()
    path = root / "meta/episodes.jsonl"
    lines = path.read_text().splitlines()
    path.write_text(lines[0] + "\n" + lines[2])
    with pytest.raises(
        DatasetError, match="2 episodes with 14 rows, without the numbers 1; allowed: 3 episodes with 28"
    ):
        EpisodeDataset(root)
    change_info(root, lambda info: info.update(total_episodes=2, total_frames=14))
    dataset = EpisodeDataset(root)
    assert [(e.index, e.number, e.length) for e in dataset] == [(0, 0, 9), (1, 2, 5)]
    check_frames(recordings, dataset, numbers=(0, 2))
    path.write_text(lines[0] + "\n" + lines[0])
    with pytest.raises(DatasetError, match="got: number 0 twice"):
        EpisodeDataset(root)


@pytest.mark.parametrize("version", ["v3.0", "v2.1"])
def test_statistics_are_optional(copy, version):
    root = copy(version)
    for path in root.glob("meta/*stats*"):
        path.unlink()
    assert dict(EpisodeDataset(root).stats) == {}


def test_pictures_in_the_rows(recordings, copy):
    root = copy("v2.1")
    for number in range(3):
        path = next(root.glob(f"data/*/episode_{number:06d}.parquet"))
        cells = []
        for frame in recordings.frames(number, TOP):
            png = io.BytesIO()
            Image.fromarray(frame).save(png, "PNG")
            cells.append({"bytes": png.getvalue(), "path": "frame.png"})
        table = pq.read_table(path)
        pq.write_table(table.append_column(TOP, pa.array(cells)), path)
    shutil.rmtree(root / "videos")
    change_info(root, lambda info: info["features"].pop("observation.images.left_wrist"))
    change_info(root, lambda info: info["features"][TOP].update(dtype="image"))
    dataset = EpisodeDataset(root)
    assert dataset.camera_keys == [TOP]
    expected = np.stack(list(recordings.frames(1, TOP)))
    np.testing.assert_array_equal(dataset.episode(1).frames(TOP, [5, 0, 5]), expected[[5, 0, 5]])
    assert dataset.episode(1).frames(TOP, []).shape == (0, *SIZE, 3)


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        ([{"bytes": None, "path": "images/lost.png"}] * 9, "neither the picture nor a file images/lost.png"),
        ([b"no picture"] * 9, "row 0 is damaged"),
        (["text"] * 9, "row 0; got: str; allowed: the bytes"),
        (None, f"lacks the column '{TOP}'"),
    ],
)
def test_a_picture_that_is_not_there_is_named(copy, cells, named):
    root = copy("v2.1")
    path = root / "data/chunk-000/episode_000000.parquet"
    if cells is not None:
        pq.write_table(pq.read_table(path).append_column(TOP, pa.array(cells)), path)
    change_info(root, lambda info: info["features"][TOP].update(dtype="image"))
    with pytest.raises(DatasetError, match=named):
        EpisodeDataset(root).episode(0).frames(TOP, [0])


def test_pictures_may_lie_in_files_beside_the_rows(recordings, copy):
    root = copy("v2.1")
    path = root / "data/chunk-000/episode_000000.parquet"
    frames = list(recordings.frames(0, TOP))
    (root / "images").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(root / f"images/{number}.png")
    cells = [{"bytes": None, "path": f"images/{number}.png"} for number in range(9)]
    pq.write_table(
        pq.read_table(path).append_column(TOP, pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()}))),
        path,
    )
    change_info(root, lambda info: info["features"][TOP].update(dtype="image"))
    np.testing.assert_array_equal(EpisodeDataset(root).episode(0).frames(TOP, [3])[0], frames[3])
    Image.fromarray(frames[0][:8]).save(root / "images/4.png")
    with pytest.raises(DatasetError, match="pictures of different sizes"):
        EpisodeDataset(root).episode(0).frames(TOP, [3, 4])


@pytest.mark.parametrize("late_s", [0.001, 0.013])
def test_episodes_that_begin_late_in_their_film_keep_their_frames(recordings, copy, late_s):
    """The second is more than half a frame: counting rows and frames of the whole film tells them apart."""
    starts = np.array([0, 9, 23]) / FPS + np.array([0, late_s / 2, late_s])
    check_frames(recordings, EpisodeDataset(one_film(recordings, copy(), starts=starts)))


def test_frames_after_the_last_row_are_passed_over(recordings, copy):
    check_frames(recordings, EpisodeDataset(one_film(recordings, copy(), surplus=3)))


def test_a_row_without_a_frame_near_it_is_named(recordings, copy):
    root = one_film(recordings, copy(), surplus=3, starts=[0, 9 / FPS + 0.0099, 23 / FPS])
    with pytest.raises(DatasetError, match=r"episode 1, row 0; got: no frame of its own at 0\.1899 s"):
        EpisodeDataset(root).episode(1).frames(TOP, [0])


def test_a_film_with_too_few_frames_is_refused(recordings, copy):
    root = copy("v2.1")
    path = root / f"videos/chunk-000/{TOP}/episode_000000.mp4"
    path.write_bytes(encode_video(list(recordings.frames(0, TOP))[:-1], fps=FPS, size=SIZE, settings=VideoSettings()))
    with pytest.raises(DatasetError, match=r"got: 8 frames; allowed: 9"):
        EpisodeDataset(root).episode(0).frames(TOP, [0])


@pytest.mark.parametrize("who", ["rows", "film"])
def test_another_rate_than_announced_is_refused(recordings, copy, who):
    root = copy("v2.1")
    if who == "rows":
        path = root / "data/chunk-000/episode_000000.parquet"
        change_table(path, timestamp=np.arange(9, dtype=np.float32) / 25)
    else:
        path = root / f"videos/chunk-000/{TOP}/episode_000000.mp4"
        path.write_bytes(encode_video(recordings.frames(0, TOP), fps=25, size=SIZE, settings=VideoSettings()))
    with pytest.raises(DatasetError, match="got: 25 Hz; allowed: 50 Hz"):
        EpisodeDataset(root).episode(0).frames(TOP, [0])


def test_rows_without_time_between_them_are_refused(copy):
    root = copy("v2.1")
    change_table(root / "data/chunk-000/episode_000000.parquet", timestamp=np.zeros(9, np.float32))
    with pytest.raises(DatasetError, match="no time passes"):
        _ = EpisodeDataset(root).episode(0).times_s


def test_timestamps_are_optional(recordings, copy):
    root = copy("v2.1")
    for path in root.glob("data/*/*.parquet"):
        change_table(path, timestamp=None)
    dataset = EpisodeDataset(root)
    np.testing.assert_allclose(dataset.episode(0).times_s, np.arange(9) / FPS)
    check_frames(recordings, dataset)


def shuffled(length, seed=0):
    return np.random.default_rng(seed).permutation(length)


def test_rows_are_in_the_order_of_their_numbers(recordings, copy):
    root = one_film(recordings, copy())
    path = root / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).take(shuffled(28)), path, row_group_size=5)
    dataset = EpisodeDataset(root)
    for number, episode in enumerate(dataset):
        np.testing.assert_array_equal(episode.column("action"), recordings.columns(number)["action"])
        assert episode.column("frame_index")[:, 0].tolist() == list(range(episode.length))


def test_rows_that_are_there_twice_are_refused(copy):
    root = copy("v2.1")
    path = root / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take([0, 1, 2, 3, 4, 5, 6, 7, 7]), path)
    with pytest.raises(DatasetError, match="frame_index; got: number 7 twice"):
        EpisodeDataset(root).episode(0).column("action")


def test_rows_are_found_by_their_place_where_episodes_were_renumbered(recordings, copy):
    """LeRobot goes by `dataset_from_index`: the numbers in the rows may be those of an earlier dataset."""
    root = one_film(recordings, copy())
    path = root / "data/chunk-000/file-000.parquet"
    old = pq.read_table(path).column("episode_index").to_numpy()
    change_table(path, episode_index=old + 100)
    for number, episode in enumerate(EpisodeDataset(root)):
        np.testing.assert_array_equal(episode.column("action"), recordings.columns(number)["action"])
    root2 = copy("v2.1")
    change_table(root2 / "data/chunk-000/episode_000001.parquet", episode_index=[0] * 14)
    np.testing.assert_array_equal(EpisodeDataset(root2).episode(1).column("action"), recordings.columns(1)["action"])


def test_two_ways_to_find_rows_that_disagree_are_refused(recordings, copy):
    root = one_film(recordings, copy())
    path = root / "data/chunk-000/file-000.parquet"
    number = pq.read_table(path).column("episode_index").to_numpy()
    # The first episode's nine numbers now stand at rows 5 to 13.
    change_table(path, episode_index=np.where(np.arange(28) < 5, 9, np.where(np.arange(28) < 14, 0, number)))
    with pytest.raises(DatasetError, match="episode_index finds rows 5 to 13, dataset_from_index rows 0 to 8"):
        EpisodeDataset(root).episode(0).column("action")


def test_going_through_all_episodes_reads_every_row_group_once(recordings, copy, monkeypatch):
    root = one_film(recordings, copy())
    path = root / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=10)
    row_store._read_group.cache_clear()
    for episode in EpisodeDataset(root):
        episode.column("action")
    assert row_store._read_group.cache_info().misses == 3


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ([3, 16, 24], ["channels", "height", "width"]),
        ([3, 16, 24], ["height", "width", "channels"]),
        ([3, 16, 24], None),
        ([16, 24, 3], {"axes": ["height", "width", "rgb"]}),
        ([16, 24, 1], ["height", "width", "channel"]),
    ],
)
def test_colours_may_come_first(copy, shape, names):
    root = copy()
    change_info(root, lambda info: info["features"][TOP].update(shape=shape, names=names))
    assert EpisodeDataset(root).frame_size(TOP) == (16, 24)


def test_a_shape_that_is_no_pictures_is_refused(copy):
    root = copy()
    change_info(root, lambda info: info["features"][TOP].update(shape=[5]))
    with pytest.raises(DatasetError, match=r"shape of 'observation.images.top'; got: \(5,\)"):
        EpisodeDataset(root).frame_size(TOP)


def test_depth_cameras_are_left_out(copy):
    root = copy()
    change_info(root, lambda info: info["features"][TOP].update(info={"is_depth_map": True}))
    assert EpisodeDataset(root).camera_keys == ["observation.images.left_wrist"]


def test_any_path_will_do(recordings, written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    name = "pick-2025-01-02T10:30:05 grün #1 100%"
    shutil.copytree(written["v3.0"], tmp_path / name)
    for root in (name, f"~/{name}", f"./{name}/"):
        check_frames(recordings, EpisodeDataset(root))


@pytest.mark.parametrize("pattern", ["data/*/*.parquet", "videos/*/*/*.mp4", "meta/info.json", "meta/tasks.parquet"])
def test_git_lfs_pointers_are_recognised(copy, pattern):
    root = copy()
    for path in root.glob(pattern):
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(DatasetError, match=r"git-lfs pointer.*git lfs pull"):
        EpisodeDataset(root).episode(0).frames(TOP, [0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(copy):
    root = copy()
    (root / "data/chunk-000/file-000.parquet").chmod(0)
    with pytest.raises(DatasetError, match="may not be read"):
        EpisodeDataset(root).episode(0).column("action")


def test_info_that_is_no_table_is_named(copy):
    root = copy()
    (root / "meta/info.json").write_text("[1]")
    with pytest.raises(DatasetError, match=r"info\.json is damaged; got: list"):
        EpisodeDataset(root)


def test_a_meta_folder_without_episodes_is_named(copy):
    root = copy()
    shutil.rmtree(root / "meta/episodes")
    with pytest.raises(DatasetError, match="meta/episodes is missing"):
        EpisodeDataset(root)


def test_features_under_other_names(recordings, copy):
    root = copy()
    renames = parse_renames([f"{TOP}=front", "reward=state"])
    assert renames == {TOP: "observation.images.front", "reward": "observation.state"}
    with pytest.raises(DatasetError, match=r"another feature called observation\.state"):
        EpisodeDataset(root, renames=renames)
    dataset = EpisodeDataset(root).renamed(parse_renames([f"{TOP}=front", "reward=reward2.x"]))
    assert dataset.camera_keys[0] == "observation.images.front"
    check_frames(recordings, dataset, key="observation.images.front")
    np.testing.assert_array_equal(dataset.episode(0).column("reward2.x"), recordings.columns(0)["reward"])
    with pytest.raises(DatasetError, match=r"tops=.*no such name.*did you mean"):
        EpisodeDataset(root, renames={"observation.images.tops": "observation.images.front"})
    for words in (["top"], ["a=b", "a=c"], ["a=c", "b=c"]):
        with pytest.raises(DatasetError, match="--rename"):
            parse_renames(words)


def test_what_is_not_there_is_asked_for_by_name(copy):
    with pytest.raises(DatasetError, match=r"no such camera; got: 'observation.images.front'.*--rename NAME=front"):
        EpisodeDataset(copy()).require(cameras=["observation.images.front"])


@pytest.mark.parametrize(
    ("there", "wanted", "renames"),
    [
        (["observation.image"], ["top"], {"observation.image": "observation.images.top"}),
        (["observation.images.wrist"], ["top"], {}),
        (["top", "wrist"], ["top"], {"top": "observation.images.top"}),
        (["observation.images.top", "top"], ["top"], {}),
        (["observation.image", "observation.wrist_image"], ["top"], {}),
    ],
)
def test_names_that_can_mean_nothing_else(there, wanted, renames):
    assert propose_renames(there, wanted) == renames
