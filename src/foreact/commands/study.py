"""`foreact study`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rich.markup import escape
from rich.progress import Progress, TaskID
from rich.table import Table

from foreact.commands.progress import console, progress_bar, use_device
from foreact.errors import ConfigurationError
from foreact.studies.catalogue import STUDIES, get_study
from foreact.studies.cells import Cell, Study
from foreact.studies.jobs import Job, News, Outcome, estimate_s, jobs_of
from foreact.studies.judging import Findings, costs, find
from foreact.studies.ledger import LEDGER_FILE, read_ledger
from foreact.studies.over_ray import run_over_ray
from foreact.studies.report import duration, write_report
from foreact.studies.runner import run
from foreact.studies.store import Store

FAILED = 1


def study(
    name: str | None,
    out: Path,
    known: Path | None,
    workers: int,
    only: Sequence[str],
    budget_hours: float | None,
    list_cells: bool,
    report_only: bool,
    ray: str | None,
    device: str,
) -> None:
    """See `foreact.cli.study`."""
    if name is None:
        return _tell_studies()
    if known is not None and not (known / LEDGER_FILE).exists():
        raise ConfigurationError("--known", got=str(known), allowed=f"a folder with {LEDGER_FILE}, as docs/evidence")
    ledger = {} if known is None else read_ledger(known)
    chosen, store = get_study(name), Store(out.resolve() / "store", ledger)
    cells = chosen.only(only)
    if budget_hours is not None and not budget_hours > 0:
        raise ConfigurationError("budget_hours", got=budget_hours, allowed="more than 0")
    if list_cells:
        return _tell_cells(chosen, cells, find(chosen, store), costs(cells, store))
    jobs = [] if report_only else jobs_of((cell.work for cell in cells), store)
    outcome = None
    try:
        if jobs:
            outcome = _run(jobs, store, workers, budget_hours, ray, str(use_device(device, None)))
    finally:
        findings = find(chosen, store)
        write_report(findings, store, out / name)
    _tell_findings(findings, out / name)
    _tell_outcome(outcome)
    return None


def _run(
    jobs: list[Job], store: Store, workers: int, budget_hours: float | None, ray: str | None, device: str
) -> Outcome:
    budget_s = None if budget_hours is None else 3600 * budget_hours
    with progress_bar() as bar:
        shown = _Shown(bar, jobs, store)
        if ray is not None:
            return run_over_ray(jobs, store, address=ray, device=device, budget_s=budget_s, on_news=shown.hear)
        return run(jobs, store, workers=workers, device=device, budget_s=budget_s, on_news=shown.hear)


class _Shown:
    """A bar for the whole, in estimated seconds, and one for each job under way; in a file, a line a tenth of a job."""

    def __init__(self, bar: Progress, jobs: list[Job], store: Store):
        self._bar, self._bars = bar, dict[str, TaskID]()
        self._seconds = {job.key: estimate_s([job.work], store) for job in jobs}
        self._done = dict.fromkeys(self._seconds, 0.0)
        self._stages: dict[str, int | str] = {}
        self._whole = bar.add_task("all jobs, estimated seconds", total=sum(self._seconds.values()), figures="")

    def hear(self, news: News) -> None:
        """Show what became of a job."""
        key, size = news.job.key, news.job.work.size
        if news.state == "begun":
            self._bars[key] = self._bar.add_task(news.job.work.title, total=size, figures="")
        elif news.state == "working":
            self._bar.update(self._bars[key], completed=news.done, figures=news.figures)
            self._done[key] = self._seconds[key] * news.done / size
        else:
            self._bar.remove_task(self._bars.pop(key))
            self._done[key] = self._seconds[key] if news.state == "done" else 0.0
            if news.state == "failed" and self._bar.console.is_terminal:
                self._bar.console.print(f"[red]failed:[/] {news.job.work.title}: {escape(news.figures)}")
        if not self._bar.console.is_terminal:
            self._print(news)
        num_done = sum(done >= self._seconds[key] for key, done in self._done.items())
        figures = f"{num_done} of {len(self._done)} jobs"
        self._bar.update(self._whole, completed=sum(self._done.values()), figures=figures)

    def _print(self, news: News) -> None:
        """Print what is new: of work that goes on every tenth, of another process's that it is at it, once."""
        key, size = news.job.key, news.job.work.size
        state = f"{news.done} of {size}" if news.state == "working" else news.state
        stage = 10 * news.done // size if news.state == "working" else news.state
        waited = self._stages.get(key) == "elsewhere" and stage == "begun"
        if waited or stage == self._stages.get(key):
            return
        self._stages[key] = stage
        told = f"{datetime.now():%H:%M:%S} {news.job.work.title}: {state} {news.figures}"
        self._bar.console.print(told.rstrip(), markup=False, soft_wrap=True)


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
        console.print(f"{report.claim.name}: [bold]{report.verdict}[/]")
    done = sum(report.is_done for report in findings.cells)
    console.print(f"{done} of {len(findings.cells)} cells are done. The report is in [bold]{folder}[/].")


def _tell_outcome(outcome: Outcome | None) -> None:
    """Say what was not done; end with status 1 if something failed."""
    if outcome is None:
        return
    if outcome.left:
        console.print(f"{len(outcome.left)} jobs were not begun. Repeat the command to go on.")
    if outcome.failed:
        for key, reason in outcome.failed.items():
            console.print(f"[red]failed:[/] {key}: {escape(reason)}")
        raise SystemExit(FAILED)
