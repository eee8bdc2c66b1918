"""One writer a folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foreact.errors import ConfigurationError
from foreact.folders import LOCK_FILE, check_room, check_writable, only_writer

WRITER = """
import sys, time
from pathlib import Path
from foreact.folders import only_writer
with only_writer(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):
    """Another process that writes to the folder `r`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "r")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None and process.stdout.readline() == b"in\n"
    yield process
    process.kill()
    process.wait()


def test_who_comes_second_is_told_who_is_there(tmp_path: Path, other) -> None:
    before = sorted(path.name for path in (tmp_path / "r").iterdir())
    stored = rf"process {other.pid} on .* writes to it; wait until it has ended"
    with pytest.raises(ConfigurationError, match=stored), only_writer(tmp_path / "r"):
        raise AssertionError("two are in")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == before
    with only_writer(tmp_path / "another"):
        pass


def test_a_killed_writer_is_in_nobodys_way(tmp_path: Path, other) -> None:
    other.kill()
    other.wait()
    leftovers = [f".config.json.{other.pid}.tmp", f".model-{other.pid}-00000.tmp"]
    kept = [f".config.json.{os.getpid()}.tmp", "notes.tmp", "model.safetensors"]
    (tmp_path / "r" / "policy").mkdir()
    for name in (*leftovers, *kept):
        (tmp_path / "r" / name).write_bytes(b"x")
        (tmp_path / "r" / "policy" / name).write_bytes(b"x")
    with only_writer(tmp_path / "r"):
        found = {path.name for path in (tmp_path / "r").rglob("*") if path.is_file()}
    assert found >= set(kept) and not found & set(leftovers)


def test_the_next_may_write_when_one_has_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with only_writer(tmp_path / "r"):
            (tmp_path / "r" / "file").write_bytes(b"x")
    assert {path.name for path in (tmp_path / "r").iterdir()} <= {"file", LOCK_FILE}


def test_a_folder_in_which_nothing_was_written_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong"), only_writer(tmp_path / "r"):
        raise ValueError("wrong settings")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="wrong"), only_writer(tmp_path / "mine"):
        raise ValueError("wrong folder")
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_disk_with_too_little_room_is_refused(tmp_path: Path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert check_room(tmp_path / "not" / "there", 1_000_000) == 1_000_000
    with pytest.raises(ConfigurationError, match=r"disk space for .*there; got: 0\.001 GB free; allowed: 2 GB or more"):
        check_room(tmp_path / "not" / "there", 2_000_000_000)


def test_a_folder_for_several_writers_is_made_or_refused(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(ConfigurationError, match="a folder that can be written to"):
        check_writable(tmp_path / "file" / "b")


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with (
        pytest.raises(ConfigurationError, match="a folder that can be written to"),
        only_writer(tmp_path / "file" / "r"),
    ):
        raise AssertionError("it was let in")


def test_where_the_disk_is_full(tmp_path: Path, monkeypatch) -> None:
    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ConfigurationError, match="No space left on device; free some space"), only_writer(tmp_path):
        raise AssertionError("it was let in")
