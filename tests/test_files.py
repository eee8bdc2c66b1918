import os
from pathlib import Path

import pytest

from foreact.files import write_whole


def test_bytes_and_functions(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_whole(path, b"one")
    assert path.read_bytes() == b"one"
    write_whole(path, lambda target: target.write_text("two"))
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def full_disk(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "file.txt"
    write_whole(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_whole(path, b"old")

    def write(target: Path) -> None:
        target.write_bytes(b"ne")
        assert target.parent == path.parent, "a rename across file systems is not atomic"
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_flushed_before_it_is_moved(tmp_path: Path, monkeypatch) -> None:
    path, order = tmp_path / "file.txt", []
    real_fsync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("flush"), real_fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append("move"), real_replace(a, b)))
    write_whole(path, b"content")
    assert order == ["flush", "move"]
