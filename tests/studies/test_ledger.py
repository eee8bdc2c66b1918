"""What was measured elsewhere is known here, without its weights or episodes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from foreact.errors import CheckpointError
from foreact.studies.catalogue import get_study
from foreact.studies.jobs import jobs_of
from foreact.studies.judging import find
from foreact.studies.ledger import LEDGER_FILE, Entry, read_ledger, write_ledger
from foreact.studies.report import as_plain
from foreact.studies.store import Store

OWN = Path(__file__).parents[2] / "docs" / "evidence"


def entry(size: int, **given) -> Entry:
    rows = [{"unit": unit, "success": 1.0, "progress": 1.0, "chunk_ms": 40.0} for unit in range(size)]
    return Entry(**{"title": "w", "size": size, "seconds": 90.0, "expected_s": 45.0, "rows": rows, **given})


@pytest.fixture
def work():
    """A measurement that needs a training, which needs demonstrations."""
    return get_study("imagination").cells[0].work


def test_a_ledger_is_read_as_it_was_written_an_entry_a_line(tmp_path) -> None:
    ledger = {"evaluation/b": entry(2), "evaluation/a": entry(0)}
    write_ledger(tmp_path, ledger)
    assert read_ledger(tmp_path) == ledger
    assert [line[:14] for line in (tmp_path / LEDGER_FILE).read_text().splitlines()[1:-1]] == [
        '"evaluation/a"',
        '"evaluation/b"',
    ]
    write_ledger(tmp_path, {})
    assert read_ledger(tmp_path) == {} == read_ledger(tmp_path / "elsewhere")


@pytest.mark.parametrize("damaged", ['{"evaluation/a": {"title": "w"}}', '{"evaluation/a": 3}', "{"])
def test_a_damaged_ledger_is_refused(tmp_path, damaged: str) -> None:
    (tmp_path / LEDGER_FILE).write_text(damaged)
    with pytest.raises(CheckpointError, match="ledger"):
        read_ledger(tmp_path)


def test_what_is_known_is_not_done_again_nor_what_it_needed(store, work) -> None:
    known = Store(store.root, {store.key(work): entry(work.size)})
    assert not store.is_done(work) and len(jobs_of([work], store)) > 1
    assert known.is_done(work) and not jobs_of([work], known)
    assert known.rows(work) == entry(work.size)["rows"] and not store.rows(work)
    fewer = Store(store.root, {store.key(work): entry(work.size - 1)})
    assert not fewer.is_done(work) and len(fewer.rows(work)) == work.size - 1


def test_of_more_than_is_asked_for_the_first_are_taken(store, work) -> None:
    known = Store(store.root, {store.key(work): entry(work.size)})
    asked = replace(work, config=replace(work.config, num_episodes=10))
    assert known.is_done(asked) and [row["unit"] for row in known.rows(asked)] == list(range(10))


def test_a_training_that_is_only_known_is_done_again(store, work) -> None:
    (training,) = work.needs()
    known = Store(store.root, {store.key(training): entry(training.size, rows=[])})
    assert not known.is_done(training)


def test_finished_work_is_added_to_what_was_known(store, counting, work) -> None:
    store.perform(counting("a"), "cpu", lambda *_: None)
    known = Store(store.root, {store.key(work): entry(work.size)})
    ledger = known.extended_ledger([work])
    assert ledger[store.key(work)] == entry(work.size)
    (added,) = ledger.keys() - known.ledger.keys()
    assert added == store.key(counting("a")) and ledger[added]["title"] == "counting a" and ledger[added]["size"] == 3
    assert known.spent_s() == {"evaluation": 90.0, "counting": ledger[added]["seconds"]}
    assert known.pace("evaluation") == 2.0


def test_a_report_from_the_ledger_is_the_report_from_the_store(store) -> None:
    study = get_study("imagination")
    ledger = {store.key(cell.work): entry(cell.work.size) for cell in study.cells}
    here = Store(store.root, ledger)
    reported = as_plain(find(study, here), here)
    assert all(cell["is_done"] and cell["num_units"] == cell["size"] for cell in reported["cells"])
    assert reported["claims"][0]["estimate"]["middle"] == 0.0 and reported["left_s"] == 0


def test_our_own_ledger_can_be_read() -> None:
    spent = json.loads((OWN / "spent.json").read_text())
    assert Store(OWN / "store", read_ledger(OWN)).spent_s() == pytest.approx(spent)
