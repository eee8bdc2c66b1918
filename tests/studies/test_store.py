import json
import time
from pathlib import Path

import pytest

from foreact.errors import CheckpointError
from foreact.studies.store import Store, lock


def nothing(done: int, total: int, figures: str) -> None:
    pass


def test_work_is_done_once_and_its_settings_can_be_read(store, counting, log) -> None:
    stored = []
    assert store.perform(counting("a"), "cpu", lambda *event: stored.append(event))
    assert stored == [(0, 3, ""), (1, 3, "at 1"), (2, 3, "at 2"), (3, 3, "at 3")]
    folder = store.folder(counting("a"))
    assert json.loads((folder / "config.json").read_text())["settings"] == {"name": "a", "first": []}
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert store.perform(counting("a"), "cpu", nothing)
    assert log.read_text().count("\n") == 3
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_other_settings_are_other_work(store, counting) -> None:
    store.perform(counting("a"), "cpu", nothing)
    assert not store.is_done(counting("b"))
    assert store.folder(counting("a")) != store.folder(counting("b"))
    assert store.folder(counting("a")) != store.folder(counting("a", first=(counting("b"),)))


def test_more_units_go_on_from_fewer(store, counting, log) -> None:
    store.perform(counting("a", size=2), "cpu", nothing)
    assert store.is_done(counting("a", size=1)) and not store.is_done(counting("a", size=4))
    store.perform(counting("a", size=4), "cpu", nothing)
    assert log.read_text().split("\n")[:-1] == ["a 1", "a 2", "a 3", "a 4"]


def test_what_another_process_is_at_is_left_to_it(store, counting, log) -> None:
    folder = store.folder(counting("a"))
    folder.mkdir(parents=True)
    with lock(folder) as mine:
        assert mine
        assert not store.perform(counting("a"), "cpu", nothing)
    assert not log.exists()
    assert store.perform(counting("a"), "cpu", nothing)


def test_a_folder_of_other_settings_is_refused(store, counting) -> None:
    store.perform(counting("a", size=1), "cpu", nothing)
    path = store.folder(counting("a")) / "config.json"
    path.write_text(path.read_text().replace('"a"', '"c"'))
    with pytest.raises(CheckpointError, match="other settings"):
        store.perform(counting("a"), "cpu", nothing)


def test_the_pace_is_that_of_finished_work(store, counting) -> None:
    assert store.pace("counting") == 1.0
    store.perform(counting("short", pause_s=0.1), "cpu", nothing)  # of 6 s: too short to tell
    assert store.pace("counting") == 1.0
    store.perform(counting("a", size=12, pause_s=0.02), "cpu", nothing)  # 2 s a unit were reckoned with
    assert 0.01 <= store.pace("counting") < 0.2


def test_what_was_done_before_does_not_count_for_the_pace(store, counting) -> None:
    with pytest.raises(ZeroDivisionError):
        store.perform(counting("a", size=20, fails_at=19, error="bug"), "cpu", nothing)
    begun = time.perf_counter()
    store.perform(counting("a", size=20, pause_s=0.1), "cpu", nothing)
    assert time.perf_counter() - begun < 1
    finished = json.loads((store.folder(counting("a")) / "finished.json").read_text())
    assert finished["seconds"] >= 20 * 0.1


def test_a_store_does_not_depend_on_where_it_lies(counting, tmp_path: Path) -> None:
    one, other = (Store(tmp_path / name).folder(counting("a")) for name in ("one", "other"))
    assert one.relative_to(tmp_path / "one") == other.relative_to(tmp_path / "other")
