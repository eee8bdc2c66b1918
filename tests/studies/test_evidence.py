"""The document of all studies, made of constructed results of one of them."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from foreact.errors import ForeactError
from foreact.evaluation.episodes import EpisodeResult
from foreact.evaluation.suite import EPISODES_FILE
from foreact.studies.catalogue import get_study
from foreact.studies.evidence import DOCUMENT, ELSEWHERE, FOLDER, NAMES, SPENT, as_document, gather, write_document
from foreact.studies.ledger import LEDGER_FILE, read_ledger
from foreact.studies.store import CONFIG_FILE, FINISHED_FILE, Store

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def docs(tmp_path_factory) -> Path:
    """Imagining succeeds on all seeds of all tasks, reacting on none of `transfer_cube`'s."""
    docs = tmp_path_factory.mktemp("docs")
    store = Store(docs / "store")
    for cell in get_study("imagination").cells:
        fails = cell.labels == {"task": "transfer_cube", "policy": "reacts"}
        folder = store.folder(cell.work)
        folder.mkdir(parents=True)
        seeds = range(cell.work.config.seed, cell.work.config.seed + cell.work.size)
        results = [
            EpisodeResult(
                seed=seed,
                success=not fails,
                progress=1.0 - fails,
                steps=10,
                stage="hold",
                imagination_error=[],
                stage_ms=[{"imagine": 40.0}],
                executed=[10],
            )
            for seed in seeds
        ]
        (folder / EPISODES_FILE).write_text("".join(json.dumps(asdict(result)) + "\n" for result in results))
        (folder / CONFIG_FILE).write_text(json.dumps({"title": cell.name}))
        (folder / FINISHED_FILE).write_text(json.dumps({"size": len(results), "seconds": 90.0, "expected_s": 45.0}))
    gather(store, docs)
    write_document(docs)
    return docs


def test_every_study_is_there_with_its_report_and_picture(docs) -> None:
    text = (docs / DOCUMENT).read_text()
    for name in NAMES:
        assert f"\n## {name}\n" in text
        assert json.loads((docs / FOLDER / f"{name}.json").read_text())["study"] == name
    assert (docs / FOLDER / "imagination.png").read_bytes().startswith(b"\x89PNG")
    assert "(evidence/imagination.png)" in text
    assert "quick" not in NAMES


def test_claims_stand_under_their_verdicts(docs) -> None:
    verdicts = (docs / DOCUMENT).read_text().split("## Every claim")[1].split("\n## ")[0]
    held, rest = verdicts.split("**fails**")
    assert "- [imagination](#imagination): imagining helps: transfer_cube: +" in held and "all tasks together" in held
    assert ": imagining helps: lift_cube: +0 % (" in rest, "where both succeed always, nothing is decided"
    assert "- [compute](#compute): " in rest.split("**not run yet**")[1]


def test_what_was_spent_and_what_is_missing_is_said(docs) -> None:
    text = (docs / DOCUMENT).read_text()
    assert json.loads((docs / FOLDER / SPENT).read_text()) == {"evaluation": 8 * 90.0}
    done, others = text.split("\n## memory\n")
    assert "12 min of evaluation" in done and "| transfer_cube | imagines | 50 | 100 % (93 to 100) |" in done
    assert "it lacks" not in done.split("## Every claim")[0], "all that was run is in the ledger"
    assert "Not run" not in done.split("\n## imagination\n")[1], "this study is complete"
    assert "`foreact study memory`):\n\n- task remember_bin: policy imagines history one chunk; policy" in others


def test_the_document_is_made_of_the_reports_alone(docs, tmp_path) -> None:
    assert as_document(docs / FOLDER) == (docs / DOCUMENT).read_text()
    copy = shutil.copytree(docs / FOLDER, tmp_path / FOLDER)
    (copy / "memory.json").unlink()
    with pytest.raises((ForeactError, FileNotFoundError), match="memory"):
        as_document(copy)


def test_on_another_machine_the_ledger_says_the_same(docs, tmp_path) -> None:
    shutil.copytree(docs / FOLDER, tmp_path / FOLDER)
    gather(Store(tmp_path / "store", read_ledger(docs / FOLDER)), tmp_path)
    for path in sorted((docs / FOLDER).glob("*.json")):
        assert (tmp_path / FOLDER / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_report_is_not_replaced_by_one_that_knows_less(docs, tmp_path) -> None:
    shutil.copytree(docs / FOLDER, tmp_path / FOLDER)
    (tmp_path / FOLDER / LEDGER_FILE).unlink()
    gather(Store(tmp_path / "store"), tmp_path)
    for name in ("imagination.json", "imagination.png"):
        assert (tmp_path / FOLDER / name).read_bytes() == (docs / FOLDER / name).read_bytes()
    assert json.loads((tmp_path / FOLDER / SPENT).read_text()) == {}, "of this it says what it knows"


def test_of_what_is_gone_the_figures_stay_beside_what_is_new(docs, tmp_path) -> None:
    """The ledger is lost, and with it two cells of `lift_cube`; two others have been run here, with another outcome."""
    shutil.copytree(docs / FOLDER, tmp_path / FOLDER)
    before = {cell["name"]: cell for cell in json.loads((docs / FOLDER / "imagination.json").read_text())["cells"]}
    store = Store(tmp_path / "store")
    for cell in get_study("imagination").only(["task=reach_cube"]):
        shutil.copytree(docs / "store" / store.key(cell.work), store.folder(cell.work))
        episodes = store.folder(cell.work) / EPISODES_FILE
        episodes.write_text(episodes.read_text().replace('"success": true', '"success": false'))
    gather(store, tmp_path)
    report = json.loads((tmp_path / FOLDER / "imagination.json").read_text())
    for cell in report["cells"]:
        assert cell["is_done"] and cell["left_s"] == 0.0
        if cell["labels"]["task"] == "reach_cube":
            assert cell["figures"]["success"]["middle"] == 0.0
        else:
            assert cell == before[cell["name"]]
    claims = {claim["claim"]: claim for claim in report["claims"]}
    assert claims["imagining helps: lift_cube"]["estimate"] is not None, "judged when its cells were there"
    assert claims["imagining helps: reach_cube"]["estimate"]["middle"] == 0.0


def test_what_was_kept_of_other_settings_is_not_taken_for_these(docs, tmp_path) -> None:
    shutil.copytree(docs / FOLDER, tmp_path / FOLDER)
    (tmp_path / FOLDER / LEDGER_FILE).unlink()
    path = tmp_path / FOLDER / "imagination.json"
    stored = json.loads(path.read_text())
    stored["cells"][3]["folder"] = "evaluation/0123456789abcdef"
    path.write_text(json.dumps(stored))
    gather(Store(tmp_path / "store"), tmp_path)
    now = json.loads(path.read_text())
    assert [cell["is_done"] for cell in now["cells"]] == [True] * 3 + [False] + [True] * 4
    assert now["left_s"] == now["cells"][3]["left_s"] > 1000.0, "its training too"
    assert {claim["verdict"] for claim in now["claims"]} == {"not run yet"}


def test_of_nothing_run_there_is_a_document_too(tmp_path) -> None:
    gather(Store(tmp_path / "store"), tmp_path)
    write_document(tmp_path)
    text = (tmp_path / DOCUMENT).read_text()
    assert "0 have been run" in text and "nothing yet" in text and "**not run yet**" in text
    assert ".png" not in text and not list((tmp_path / FOLDER).glob("*.png"))


def test_our_own_document_is_what_its_reports_say() -> None:
    assert (DOCS / DOCUMENT).read_text() == as_document(DOCS / FOLDER)


def test_what_is_measured_elsewhere_is_there() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", ELSEWHERE)
    assert len(targets) == ELSEWHERE.count("\n- ") and all((DOCS / target).exists() for target in targets)
