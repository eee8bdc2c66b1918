"""Findings and reports of constructed results: what stands in the store's files decides, nothing is run."""

import json
from dataclasses import asdict, replace

import pytest

from foreact.evaluation.episodes import EpisodeResult
from foreact.evaluation.statistics import mcnemar_p, paired_difference_interval, wilson_interval
from foreact.evaluation.suite import EPISODES_FILE, EvaluationConfig
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim
from foreact.studies.judging import Findings, costs, find
from foreact.studies.report import as_markdown, as_plain, duration, write_report
from foreact.studies.store import CONFIG_FILE, FINISHED_FILE, Store

NUM_SEEDS = 40
SIDES = ("imagines", "reacts")
CONFIG = EvaluationConfig(task="lift_cube", num_episodes=NUM_SEEDS, seed=7)


def write(store: Store, cell: Cell, successes: range, *, num_episodes: int = NUM_SEEDS, error: float = 0.3) -> None:
    """Leave the files of an evaluation that succeeded on some of its seeds, counted from the first."""
    folder = store.folder(cell.work)
    folder.mkdir(parents=True)
    results = [
        EpisodeResult(
            seed=CONFIG.seed + number,
            success=number in successes,
            progress=1.0 if number in successes else 0.5,
            steps=10,
            stage="hold",
            imagination_error=[error, error + 0.2],
            stage_ms=[{"imagine": 40.0, "encode": 20.0}],
            executed=[10],
        )
        for number in range(num_episodes)
    ]
    (folder / EPISODES_FILE).write_text("".join(json.dumps(asdict(result)) + "\n" for result in results))
    if num_episodes == NUM_SEEDS:
        (folder / CONFIG_FILE).write_text(json.dumps({"title": "so many episodes"}))
        (folder / FINISHED_FILE).write_text(json.dumps({"size": num_episodes}))


@pytest.fixture
def study() -> Study:
    cells = tuple(
        Cell(
            labels={"task": task, "policy": side},
            policy="tiny" if side == "imagines" else "tiny-reactive",
            measure=replace(CONFIG, task=task),
        )
        for task in ("lift_cube", "transfer_cube")
        for side in SIDES
    )
    imagines, reacts = ({"policy": side} for side in SIDES)
    return Study(
        name="toy",
        question="Does it help?",
        cells=cells,
        reference=reacts,
        claims=(
            Claim(name="together", first=imagines, second=reacts),
            *(
                Claim(name=task, first=imagines | {"task": task}, second=reacts | {"task": task})
                for task in ("lift_cube", "transfer_cube")
            ),
            Claim(
                name="more in the longer task",
                first=imagines | {"task": "transfer_cube"},
                second=reacts | {"task": "transfer_cube"},
                beside=(imagines | {"task": "lift_cube"}, reacts | {"task": "lift_cube"}),
            ),
            Claim(name="better than a half", first=imagines, more_than=0.5),
            Claim(name="worse pictures", first=imagines, second=reacts, figure="imagination_error"),
        ),
    )


@pytest.fixture
def all_run(study, store) -> Findings:
    """Imagining: 30 and 38 of 40; reacting: the same 30, and 10."""
    for cell, successes, error in zip(
        study.cells, (range(30), range(30), range(38), range(10)), (0.3, 0.1, 0.3, 0.1), strict=True
    ):
        write(store, cell, successes, error=error)
    return find(study, store)


def test_figures_are_those_of_the_files(all_run) -> None:
    report = all_run.cells[0]
    assert report.is_done and report.num_units == NUM_SEEDS and report.left_s == 0
    success = report.figures["success"]
    assert (success.middle, success.low, success.high) == (0.75, *wilson_interval(30, 40))
    assert report.figures["progress"].middle == pytest.approx(0.875)
    assert report.figures["imagination_error"].middle == pytest.approx(0.4)
    assert report.figures["chunk_ms"].middle == 60
    assert "action_error" not in report.figures


def test_cells_are_compared_with_their_reference_on_the_same_seeds(all_run) -> None:
    same, reference, better, _ = all_run.cells
    assert reference.against is None and reference.p is None
    assert (same.against.middle, same.p) == (0, 1)
    assert (better.against.low, better.against.high) == paired_difference_interval(28, 0, 40)
    assert (better.against.middle, better.p) == (0.7, mcnemar_p(28, 0))


def test_claims_hold_fail_or_stay_open(all_run, study, store) -> None:
    verdicts = {report.claim.name: report.verdict for report in all_run.claims}
    assert verdicts == {
        "together": "holds",
        "lift_cube": "not decided by the interval",
        "transfer_cube": "holds",
        "more in the longer task": "holds",
        "better than a half": "holds",
        "worse pictures": "holds",
    }
    turned = tuple(replace(claim, first=claim.second, second=claim.first) for claim in study.claims[1:3])
    found = find(replace(study, claims=turned), store)
    assert [report.verdict for report in found.claims] == ["not decided by the interval", "fails"]


def test_a_half_run_study_says_what_is_missing(study, store) -> None:
    first, second, third, _ = study.cells
    write(store, first, range(30))
    write(store, second, range(20))
    write(store, third, range(9), num_episodes=9)
    found = find(study, store)
    assert [report.is_done for report in found.cells] == [True, True, False, False]
    assert [report.num_units for report in found.cells] == [40, 40, 9, 0]
    verdicts = {report.claim.name: report.verdict for report in found.claims}
    assert verdicts["lift_cube"] == "holds"
    assert {verdicts[name] for name in ("together", "transfer_cube", "more in the longer task")} == {"not run yet"}
    assert verdicts["better than a half"] == "not run yet", "nine successes of nine so far decide nothing"
    text = as_markdown(as_plain(found, store))
    rest = text.split("## Not run yet")[1]
    assert "task=transfer_cube, policy=imagines | 9 of 40 | " in rest
    assert "task=transfer_cube, policy=reacts | 0 of 40 | " in rest and "lift_cube" not in rest
    assert found.cells[3].left_s > 0


def test_what_cells_share_is_counted_once(study, store, monkeypatch) -> None:
    twice = Cell(labels={"task": "again", "policy": "imagines"}, policy="tiny", measure=CONFIG)
    both = replace(study, cells=(study.cells[0], twice), claims=(), reference={"policy": "imagines"})
    assert list(costs(both.cells, store).values()) == [study.cells[0].work.expected_s, 0.0]


def test_the_report_is_one_table_one_picture_and_one_json(all_run, study, store, tmp_path) -> None:
    folder = tmp_path / "report"
    write_report(all_run, store, folder)
    plain = json.loads((folder / "report.json").read_text())
    assert plain == json.loads(json.dumps(as_plain(all_run, store)))
    assert [claim["verdict"] for claim in plain["claims"]][:2] == ["holds", "not decided by the interval"]
    assert (store.root / plain["cells"][0]["folder"] / EPISODES_FILE).exists()
    text = (folder / "report.md").read_text()
    assert "| lift_cube | imagines | 40 | 75 % (60 to 86) |" in text
    low, high = (100 * end for end in paired_difference_interval(28, 0, 40))
    assert f"| +70 % ({low:+.0f} to {high:+.0f}), p = {mcnemar_p(28, 0):.2g} |" in text and "(the reference)" in text
    low, high = (100 * end for end in paired_difference_interval(28, 0, 80))
    assert f"| together | +35 % ({low:+.0f} to {high:+.0f}) | +0 % | **holds** |" in text
    assert "Not run yet" not in text
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_of_nothing_run_there_is_a_report_too(study, store, tmp_path) -> None:
    write_report(find(study, store), store, tmp_path / "report")
    plain = json.loads((tmp_path / "report" / "report.json").read_text())
    assert plain["left_s"] > 0 and all(cell["figures"] == {} for cell in plain["cells"])
    assert {claim["verdict"] for claim in plain["claims"]} == {"not run yet"}


def test_of_one_episode_there_is_no_interval(study, store, tmp_path) -> None:
    write(store, study.cells[0], range(1), num_episodes=1)
    found = find(study, store)
    write_report(found, store, tmp_path / "report")
    plain = json.loads((tmp_path / "report" / "report.json").read_text())["cells"][0]["figures"]["progress"]
    assert plain == {"middle": 1.0, "low": None, "high": None, "num_units": 1}
    assert "| 1 of 40 | 100 % (21 to 100) | 100 % (of one alone) |" in as_markdown(as_plain(found, store))


@pytest.mark.parametrize(("seconds", "words"), [(12.0, "12 s"), (600.0, "10 min"), (7200.0, "2.0 h")])
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
