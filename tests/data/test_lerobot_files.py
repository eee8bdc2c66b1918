from pathlib import Path

import pytest

from foreact.data.lerobot_files import (
    meta_place_of,
    parse_file,
    place_of,
    publish_files,
    remove_beyond,
    stage_files,
)
from foreact.errors import DatasetError


def test_places_roll_over_into_the_next_chunk():
    assert place_of(999) == {"chunk_index": 0, "file_index": 999}
    assert place_of(2003) == {"chunk_index": 2, "file_index": 3}
    assert meta_place_of(99) == place_of(0) and meta_place_of(100_000) == place_of(1000)


def test_nothing_shows_before_all_is_published(tmp_path):
    contents = {tmp_path / "a/one": b"1", tmp_path / "two": b"2"}
    stage_files(contents)
    assert not any(path.exists() for path in contents)
    publish_files(contents)
    assert {path: path.read_bytes() for path in contents} == contents
    assert not list(tmp_path.rglob("*.partial"))


def test_a_failed_stage_leaves_nothing(tmp_path):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    with pytest.raises(DatasetError, match="blocked cannot be written"):
        stage_files({tmp_path / "one": b"1", tmp_path / "blocked/two": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]


def test_files_beyond_the_count_go(tmp_path):
    names = ["chunk-000/file-998.mp4", "chunk-000/file-999.mp4", "chunk-001/file-000.mp4"]
    for name in (*names, "chunk-000/file-001.mp4.partial"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_beyond(tmp_path, 999)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*")] == names[:1]


def test_missing_and_damaged_files_are_named(tmp_path):
    path = tmp_path / "number.txt"
    with pytest.raises(DatasetError, match=r"number\.txt is missing"):
        parse_file(path, path.read_text)
    path.write_text("x")
    with pytest.raises(DatasetError, match=r"number\.txt is damaged; got: invalid literal"):
        parse_file(path, lambda: int(Path(path).read_text()))
