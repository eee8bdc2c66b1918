"""`foreact study`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from foreact.commands.options import named
from foreact.commands.progress import bold, console, plain, progress_bar, use_device
from foreact.commands.study_progress import StudyProgress
from foreact.errors import ConfigurationError
from foreact.folders import check_writable
from foreact.studies import over_ray, runner
from foreact.studies.catalogue import STUDIES, get_study
from foreact.studies.cells import Cell, Study
from foreact.studies.jobs import Job, Outcome, jobs_of
from foreact.studies.judging import Findings, costs, find
from foreact.studies.ledger import LEDGER_FILE, read_ledger
from foreact.studies.report import duration, write_report
from foreact.studies.store import Store

FAILED = 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Answer a question by a grid of trainings and evaluations.

    One table, one picture, one JSON, claims judged. Without a name, lists the studies. What was done before, by
    whatever study, is not done again; repeat the command after an interruption, or a failure, and it goes on where it
    stopped. Several runs may work on one folder.

    Example: foreact study imagination --workers 2
    """

    name: Annotated[str | None, named(STUDIES), tyro.conf.Positional] = None
    """Which; none lists them with their questions."""
    workers: int = 1
    """Processes, each of one thread."""
    out: Path = Path("outputs/studies")
    """Gets NAME/report.md, report.json and figure.png; under store/, all trainings and evaluations."""
    known: Path | None = None
    """Folder with the ledger of what was measured elsewhere, which is then not run again: docs/evidence."""
    only: tuple[str, ...] = ()
    """Cells to run, as LABEL=VALUE: policy=imagines. --list shows the labels."""
    budget_hours: float | None = None
    """Hours after which nothing more is begun."""
    list_cells: Annotated[bool, tyro.conf.arg(name="list")] = False
    """Run nothing; list the cells, which are done, and what the others are estimated to take."""
    report_only: bool = False
    """Run nothing; write the report of what there is."""
    ray: str | None = None
    """Run on a Ray cluster instead, whose machines all see `out`: its address, or auto (extra `ray`)."""
    device: str = "cpu"
    """cpu or cuda."""


def run(settings: Settings) -> None:
    """Run what is missing, and write the report of what there is."""
    name, out, known = settings.name, settings.out, settings.known
    if name is None:
        return _tell_studies()
    if known is not None and not (known / LEDGER_FILE).exists():
        raise ConfigurationError("--known", got=str(known), allowed=f"a folder with {LEDGER_FILE}, as docs/evidence")
    ledger = {} if known is None else read_ledger(known)
    chosen, store = get_study(name), Store(out.resolve() / "store", ledger)
    cells = chosen.only(settings.only)
    if settings.budget_hours is not None and not settings.budget_hours > 0:
        raise ConfigurationError("budget_hours", got=settings.budget_hours, allowed="more than 0")
    if settings.list_cells:
        return _tell_cells(chosen, cells, find(chosen, store), costs(cells, store))
    check_writable(out)
    jobs = [] if settings.report_only else jobs_of((cell.work for cell in cells), store)
    outcome = None
    try:
        if jobs:
            outcome = _run(jobs, store, settings)
    finally:
        findings = find(chosen, store)
        write_report(findings, store, out / name)
    _tell_findings(findings, out / name)
    _tell_outcome(outcome)
    return None


def _run(jobs: list[Job], store: Store, settings: Settings) -> Outcome:
    budget_s = None if settings.budget_hours is None else 3600 * settings.budget_hours
    device = str(use_device(settings.device, None))
    with progress_bar(lines=False) as bar:  # it prints lines of its own
        common = {"device": device, "budget_s": budget_s, "on_event": StudyProgress(bar, jobs, store).hear}
        if settings.ray is not None:
            return over_ray.run_over_ray(jobs, store, address=settings.ray, **common)
        return runner.run(jobs, store, workers=settings.workers, **common)


def _tell_studies() -> None:
    table = Table("study", "question", "cells", box=None)
    for name, make in STUDIES.items():
        study = make()
        table.add_row(name, study.question, str(len(study.cells)))
    console.print(table)


def _tell_cells(study: Study, cells: list[Cell], findings: Findings, left_s: Mapping[str, float]) -> None:
    console.print(study.question)
    table = Table(*cells[0].labels, "units", "left, one core", box=None)
    names = {cell.name for cell in cells}
    shown = [report for report in findings.cells if report.cell.name in names]
    for report in shown:
        left = "done" if report.is_done else duration(left_s[report.cell.name])
        units = f"{report.num_units} of {report.cell.work.size}"
        table.add_row(*map(str, report.cell.labels.values()), units, left)
    console.print(table)
    hours = sum(left_s.values()) / 3600
    done = f"{sum(report.is_done for report in shown)} of {len(shown)} cells are done"
    console.print(f"{done}; about {hours:.1f} hours of one core are left.")
    console.print("What several cells need is counted at the first of them.")


def _tell_findings(findings: Findings, folder: Path) -> None:
    for report in findings.claims:
        console.print(f"{report.claim.name}: {bold(report.verdict)}")
    done = sum(report.is_done for report in findings.cells)
    console.print(f"{done} of {len(findings.cells)} cells are done. The report is in {bold(folder)}.")


def _tell_outcome(outcome: Outcome | None) -> None:
    """Say what was not done; end with status 1 if something failed."""
    if outcome is None:
        return
    if outcome.left:
        console.print(f"{len(outcome.left)} jobs were not begun. Repeat the command to go on.")
    if outcome.failed:
        for key, reason in outcome.failed.items():
            console.print(f"[red]failed:[/] {key}: {plain(reason)}")
        raise SystemExit(FAILED)
