"""A dataset from a stranger is refused in one sentence, before anything large is read or made."""

import json
import os
import socket
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foreact.data.bounds import MOST_FOOTER_BYTES, MOST_JSON_BYTES, check_inside, check_pattern, check_pixels
from foreact.data.episodes import EpisodeDataset
from foreact.data.film import open_film
from foreact.data.lerobot_files import DATA_PATH, VIDEO_PATH
from foreact.data.pictures import read_cell
from foreact.data.video import VideoSettings, encode_video
from foreact.errors import DatasetError

DATA_FILE = "data/chunk-000/file-000.parquet"
VIDEO_FILE = "videos/observation.images.top/chunk-000/file-000.mp4"


def change_info(root: Path, **changes) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refuses(root: Path, match: str) -> None:
    """Opening or reading fails with one sentence that matches, and takes less than 200 MB."""
    before = psutil.Process().memory_info().rss
    with pytest.raises(DatasetError, match=match) as caught:
        for episode in EpisodeDataset(root):
            episode.column("action")
            episode.frames("observation.images.top", [0])
    assert psutil.Process().memory_info().rss - before < 200e6
    assert "\n" not in str(caught.value)


@pytest.fixture
def root(recordings, tmp_path: Path) -> Path:
    return recordings.write(tmp_path / "dataset")


@pytest.mark.parametrize(
    "pattern",
    [
        "../other/file-{file_index:03d}.parquet",
        "data/../../file-{file_index:03d}.parquet",
        "data\\..\\..\\file",
        "/etc/file-{file_index:03d}.parquet",
        "C:/file-{file_index:03d}.parquet",
        "~/file.parquet",
        "data/{chunk_index.__class__}/file.parquet",
        "data/{chunk_index!r}/file.parquet",
        "data/{chunk_index[0]}/file.parquet",
        "data/{chunk_index:999999999d}/file.parquet",
        "data/{chunk_index:{file_index}}/file.parquet",
        "data/{0}/file.parquet",
        "data/{secret}/file.parquet",
        "data/{chunk_index",
        "data/\0.parquet",
        7,
    ],
)
def test_path_pattern_that_lerobot_would_not_write_is_refused(root: Path, pattern) -> None:
    change_info(root, data_path=pattern)
    refuses(root, "data_path in meta/info.json")
    change_info(root, data_path=DATA_PATH, video_path=pattern)
    refuses(root, "video_path in meta/info.json")


@pytest.mark.parametrize(
    "pattern",
    [
        DATA_PATH,
        VIDEO_PATH,
        "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    ],
)
def test_path_patterns_of_all_versions_are_accepted(pattern: str) -> None:
    check_pattern(Path("dataset"), "data_path", pattern)


def test_camera_whose_name_leads_out_of_the_dataset_is_refused(root: Path) -> None:
    path = root / "meta/info.json"
    path.write_text(path.read_text().replace("observation.images.top", "../../observation.images.top"))
    meta = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(meta)
    names = [name.replace("observation.images.top", "../../observation.images.top") for name in table.column_names]
    pq.write_table(table.rename_columns(names), meta)
    refuses(root, "a file inside the dataset")


@pytest.mark.parametrize("name", [DATA_FILE, VIDEO_FILE, "meta/info.json", "meta/tasks.parquet", "data", "meta"])
def test_link_out_of_the_dataset_is_refused(root: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (root / name).rename(outside)
    (root / name).symlink_to(outside)
    refuses(root, "a file inside the dataset")


def test_snapshot_in_the_hubs_cache_may_link_to_its_blobs(root: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "datasets--a--b/blobs", tmp_path / "datasets--a--b/snapshots/0123"
    blobs.mkdir(parents=True)
    for number, path in enumerate(path for path in sorted(root.rglob("*")) if path.is_file()):
        link = snapshot / path.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(blobs / str(number))
        link.symlink_to(blobs / str(number))
    assert EpisodeDataset(snapshot).episode(0).column("action").shape == (9, 3)
    link.unlink()
    link.symlink_to("/etc/hostname")
    with pytest.raises(DatasetError, match="a file inside the dataset"):
        EpisodeDataset(snapshot)


def test_dataset_that_is_itself_a_link_is_opened(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert EpisodeDataset(tmp_path / "link").num_episodes == 3


def test_file_beside_the_dataset_is_not_inside_it(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a file inside the dataset"):
        check_inside(root, [tmp_path / "dataset-of-others/file"])


@pytest.mark.parametrize("name", [DATA_FILE, VIDEO_FILE, "meta/tasks.parquet", "meta/info.json", "meta/stats.json"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder"])
def test_what_is_no_file_is_refused_and_not_waited_for(root: Path, monkeypatch, name: str, kind: str) -> None:
    path = root / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    if name == "meta/stats.json":
        assert EpisodeDataset(root).stats == {}
    else:
        refuses(root, "missing|no regular file|no dataset")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"total_episodes": 10**12}, "total_episodes"),
        ({"total_episodes": -1}, "total_episodes"),
        ({"total_episodes": 99_999_999}, "without the numbers 3, 4"),
        ({"fps": 0}, "fps"),
        ({"fps": float("nan")}, "fps"),
        ({"fps": "fast"}, "fps"),
        ({"chunks_size": -3}, "chunks_size"),
    ],
)
def test_numbers_that_no_dataset_has_are_refused(root: Path, changes, match: str) -> None:
    change_info(root, **changes)
    refuses(root, match)


@pytest.mark.parametrize("shape", [[3_000_000_000, 24, 3], [16, 3_000_000_000, 3], [32768, 32768, 3], [-1, 2, 3], "16"])
def test_camera_of_an_impossible_size_is_refused(root: Path, shape) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    features["observation.images.top"]["shape"] = shape
    change_info(root, features=features)
    refuses(root, "shape of 'observation.images.top'")


def test_column_of_an_impossible_size_is_refused(root: Path) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    features["action"]["shape"] = [3_000_000_000]
    change_info(root, features=features)
    refuses(root, "shape of 'action'")


def test_episode_of_a_trillion_rows_is_refused(root: Path) -> None:
    meta = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(meta)
    lengths = pa.array([10**12, 14, 5])
    pq.write_table(table.set_column(table.column_names.index("length"), "length", lengths), meta)
    change_info(root, total_frames=10**12 + 19)
    refuses(root, "rows of episode 0")


def test_deep_and_large_json_is_refused(root: Path) -> None:
    (root / "meta/info.json").write_text("[" * 1_000_000)
    refuses(root, "too deep")
    with (root / "meta/info.json").open("r+b") as stream:
        stream.truncate(MOST_JSON_BYTES + 1)
    refuses(root, "16 MiB")


def constant_table(rows: int) -> pa.Table:
    return pa.table({name: np.zeros(rows, np.int64) for name in ("episode_index", "frame_index", "index")})


def test_table_with_more_rows_than_its_bytes_can_hold_is_refused(root: Path) -> None:
    table = constant_table(1_000_000)
    with pq.ParquetWriter(root / DATA_FILE, table.schema) as writer:
        for _ in range(10):
            writer.write_table(table)
    assert (root / DATA_FILE).stat().st_size < 200_000
    refuses(root, "rows; got: 10000000")


def test_column_with_more_values_than_its_bytes_can_hold_is_refused(root: Path) -> None:
    actions = pa.FixedSizeListArray.from_arrays(np.zeros(9_000_000, np.float32), 1_000_000)
    rows = np.arange(9)
    table = {"episode_index": 0 * rows, "frame_index": rows, "index": rows, "action": actions}
    pq.write_table(pa.table(table), root / DATA_FILE)
    refuses(root, "values of action")


def test_oversized_footer_is_refused(root: Path) -> None:
    content = bytearray((root / DATA_FILE).read_bytes())
    content[-8:-4] = struct.pack("<I", 0xFFFFFFF0)
    (root / DATA_FILE).write_bytes(content)
    refuses(root, "damaged")
    with (root / DATA_FILE).open("r+b") as stream:
        stream.seek(MOST_FOOTER_BYTES + 1000)
        stream.write(struct.pack("<I", MOST_FOOTER_BYTES + 1) + b"PAR1")
    refuses(root, "footer")


def film(path: Path, size: tuple[int, int], num_frames: int = 12) -> Path:
    rng = np.random.default_rng(0)
    frames = (rng.integers(0, 255, (*size, 3), np.uint8) for _ in range(num_frames))
    path.write_bytes(encode_video(frames, fps=30, size=size, settings=VideoSettings()))
    return path


def test_picture_too_large_for_a_camera_is_refused() -> None:
    with pytest.raises(DatasetError, match="pixels"):
        check_pixels("video a.mp4", (20_000, 20_000))
    with pytest.raises(DatasetError, match="pixels"):
        check_pixels("video a.mp4", (0, 20))


def test_png_that_announces_too_many_pixels_is_refused(tmp_path: Path) -> None:
    for sides in ((9_000, 9_000), (3_000_000, 3_000_000)):
        header = struct.pack(">IIBBBBB", *sides, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
        with pytest.raises(DatasetError, match="pixels"):
            read_cell(
                b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4), tmp_path, "image of row 0"
            )


def test_picture_outside_the_dataset_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        with pytest.raises(DatasetError, match="a file inside the dataset"):
            read_cell({"bytes": None, "path": path}, root, "image of row 0")


def test_film_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    """Of a raw stream, where one film follows the other without a container that says so."""
    content = b""
    for size in ((16, 24), (32, 48)):
        with av.open(str(film(tmp_path / "part.mp4", size)), "r") as source:
            stream = source.streams.video[0]
            convert = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
            for packet in source.demux(stream):
                content += b"".join(bytes(out) for out in convert.filter(packet))
    (tmp_path / "both.h264").write_bytes(content)
    whole = open_film(tmp_path / "both.h264")
    with pytest.raises(DatasetError, match=r"48 x 32 pixels.*24 x 16"):
        whole.frames(range(whole.num_frames))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_film_whose_download_stopped_is_an_error_and_gives_no_made_up_pictures(tmp_path: Path, codec: str) -> None:
    """The file has its full length, but from some byte on there are zeros."""
    size, path = (64, 96), tmp_path / "film.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options={"preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = *size, "yuv420p", 4
        for _ in range(12):
            picture = rng.integers(0, 255, (*size, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    start = content.find(b"mdat") + 800
    for place in range(start, len(content) - 2000, (len(content) - start) // 10):
        path.write_bytes(content[:place] + bytes(len(content) - place))
        with pytest.raises(DatasetError, match="damaged"):
            open_film(path).frames(range(12))
