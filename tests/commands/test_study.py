import json
import re
import sys

import pytest

from foreact.commands.main import main
from foreact.commands.progress import progress_bar
from foreact.commands.study_progress import StudyProgress
from foreact.studies import over_ray, runner
from foreact.studies.catalogue import get_study
from foreact.studies.jobs import Outcome, WorkEvent, jobs_of
from foreact.studies.ledger import Entry, write_ledger
from foreact.studies.store import Store


def run(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as stopped:
        run("study", *arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def stored(monkeypatch) -> list[dict]:
    """The runner is told what to do, and does none of it: the first job is done, the second fails."""
    asked = []

    def pretend(jobs, store, *, on_event, **settings) -> Outcome:
        asked.append({"jobs": jobs, "store": store, **settings})
        first, second, *others = jobs
        for job in (first, second):
            on_event(WorkEvent(job=job, state="begun"))
            on_event(WorkEvent(job=job, state="working", done=1, figures="loss 1"))
        on_event(WorkEvent(job=first, state="done", done=first.work.size))
        on_event(WorkEvent(job=second, state="failed", figures="it broke"))
        return Outcome(failed={second.key: "it broke"}, left=others)

    monkeypatch.setattr(runner, "run", pretend)
    monkeypatch.setattr(over_ray, "run_over_ray", pretend)
    return asked


def test_without_a_name_the_studies_are_listed(capsys) -> None:
    run("study")
    said = capsys.readouterr().out
    assert all(name in said for name in ("imagination", "denoising", "drift-and-loop"))


def test_cells_are_listed_with_their_cost_and_nothing_is_run(capsys, tmp_path, stored) -> None:
    run("study", "imagination", "--list", "--only", "task=lift_cube", "--out", tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert "0 of 2 cells are done; about" in said and "0 of 50" in said and "reach_cube" not in said
    assert not stored and list(tmp_path.iterdir()) == []


def test_what_chosen_cells_cost_includes_what_they_share_with_others(capsys, tmp_path) -> None:
    run("study", "drift-and-loop", "--list", "--only", "task=reach_cube", "loop=open", "--out", tmp_path)
    hours = re.search(r"about ([\d.]+) hours", " ".join(capsys.readouterr().out.split()))
    assert float(hours[1]) > 0.5, "the training too"


def test_a_job_of_another_process_is_told_once_and_markup_as_it_is(capsys, tmp_path) -> None:
    store = Store(tmp_path)
    (job, *_) = jobs_of([cell.work for cell in get_study("quick").cells], store)
    with progress_bar() as bar:
        shown = StudyProgress(bar, [job], store)
        for _ in range(3):
            shown.hear(WorkEvent(job=job, state="begun"))
            shown.hear(WorkEvent(job=job, state="elsewhere"))
        shown.hear(WorkEvent(job=job, state="begun"))
        shown.hear(WorkEvent(job=job, state="failed", figures="in [/tmp/x] of [it]"))
    said = capsys.readouterr().out
    assert said.count("elsewhere") == 1 and said.count("begun") == 1 and "in [/tmp/x] of [it]" in said


def test_a_failure_is_listed_and_ends_with_status_1(capsys, tmp_path, stored) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("study", "quick", "--out", tmp_path, "--workers", 2, "--budget-hours", 1.5)
    assert stopped.value.code == 1
    said = " ".join(capsys.readouterr().out.split())
    assert ": begun" in said and "loss 1" in said, "lines, where there is no terminal"
    assert "failed it broke" in said and "3 jobs were not begun. Repeat the command" in said
    assert "imagining helps: not run yet" in said and "0 of 2 cells are done" in said
    (asked,) = stored
    assert asked["workers"] == 2 and asked["budget_s"] == 5400 and asked["device"] == "cpu"
    assert asked["store"] == Store(tmp_path / "store")
    assert [job.work.kind for job in asked["jobs"]] == [
        "demonstrations",
        "training",
        "evaluation",
        "training",
        "evaluation",
    ]
    report = json.loads((tmp_path / "quick" / "report.json").read_text())
    assert report["study"] == "quick" and len(report["cells"]) == 2


def test_only_what_is_chosen_is_run(tmp_path, stored) -> None:
    with pytest.raises(SystemExit):
        run("study", "quick", "--out", tmp_path, "--only", "policy=reacts", "--ray", "auto")
    (asked,) = stored
    assert [job.work.kind for job in asked["jobs"]] == ["demonstrations", "training", "evaluation"]
    assert asked["address"] == "auto" and asked["budget_s"] is None


def test_what_the_ledger_knows_is_not_run(capsys, tmp_path, stored) -> None:
    cell = get_study("quick").only(["policy=reacts"])[0]
    rows = [{"unit": unit, "success": 1.0} for unit in range(cell.work.size)]
    entry = Entry(title="w", size=len(rows), seconds=0.0, expected_s=0.0, rows=rows)
    write_ledger(tmp_path, {Store(tmp_path).key(cell.work): entry})
    run("study", "quick", "--known", tmp_path, "--only", "policy=reacts", "--out", tmp_path / "out")
    assert not stored and "1 of 2 cells are done" in " ".join(capsys.readouterr().out.split())


def test_a_report_of_what_there_is(capsys, tmp_path, stored) -> None:
    run("study", "quick", "--report-only", "--out", tmp_path)
    assert not stored
    folder = tmp_path / "quick"
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", "figure.png"}
    assert "## Not run yet" in (folder / "report.md").read_text()


def test_the_report_is_written_when_the_study_is_interrupted(tmp_path, monkeypatch) -> None:
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run", interrupted)
    with pytest.raises(SystemExit) as stopped:
        run("study", "quick", "--out", tmp_path)
    assert stopped.value.code == 130
    assert (tmp_path / "quick" / "report.md").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["imaginations"], "unknown study"),
        (["quick", "--only", "policy=dreams"], "imagines, reacts"),
        (["quick", "--only", "tasks=reach_cube"], "did you mean 'task'"),
        (["quick", "--only", "reach_cube"], "LABEL=VALUE"),
        (["quick", "--budget-hours", "0"], "budget_hours"),
        (["quick", "--known", "missing"], "ledger.json"),
        (["quick", "--workers", "0"], "workers"),
        (["quick", "--device", "cuda:99"], "device"),
    ],
)
def test_mistakes_are_refused(capsys, tmp_path, arguments: list[str], said: str) -> None:
    assert said in refused(capsys, *arguments, "--out", tmp_path)


def test_the_example_and_the_exit_without_ray(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install" in refused(capsys, "quick", "--ray", "auto", "--out", tmp_path)


@pytest.mark.slow
@pytest.mark.sim
def test_the_quick_study_really_runs(tmp_path, capsys) -> None:
    run("study", "quick", "--out", tmp_path, "--workers", 2)
    assert "2 of 2 cells are done" in " ".join(capsys.readouterr().out.split())
    report = json.loads((tmp_path / "quick" / "report.json").read_text())
    assert [cell["num_units"] for cell in report["cells"]] == [2, 2]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()}
    run("study", "quick", "--out", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()} == times
