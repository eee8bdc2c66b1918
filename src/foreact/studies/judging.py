"""From what has been run to what is known: cells, comparisons and claims, each with its 95 % interval."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from foreact.evaluation.statistics import mcnemar_p
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import (
    Claim,
    Estimate,
    Figure,
    Labels,
    Values,
    Verdict,
    contrast,
    difference,
    judge,
    level,
)
from foreact.studies.jobs import estimate_s, jobs_of
from foreact.studies.store import Store
from foreact.studies.work import Row


@dataclass(frozen=True, kw_only=True)
class CellReport:
    """What is known of a cell."""

    cell: Cell
    num_units: int
    """Episodes that are there."""
    is_done: bool
    """Whether these are all."""
    figures: dict[str, Estimate]
    """Of those that are there."""
    against: Estimate | None
    """Its success, or action error, less its reference's, on the same units; None before both are done."""
    p: float | None
    """McNemar's exact test of that difference of success."""
    left_s: float
    """Estimated seconds on one core that it still takes, but for what an earlier cell needs too."""


@dataclass(frozen=True, kw_only=True)
class ClaimReport:
    """How a claim stands."""

    claim: Claim
    verdict: Verdict
    estimate: Estimate | None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that is known of a study."""

    study: Study
    cells: list[CellReport]
    claims: list[ClaimReport]


def find(study: Study, store: Store) -> Findings:
    """Return what is known of a study by what its store holds."""
    rows = {cell.name: store.rows(cell.work) for cell in study.cells}
    done = {cell.name for cell in study.cells if store.is_done(cell.work)}
    figures: tuple[str, ...] = get_args(Figure)
    values = {name: {figure: _values(of, figure) for figure in figures} for name, of in rows.items()}
    left = costs(study.cells, store)
    book = _Book(study, values, done)
    cells = [
        CellReport(
            cell=cell,
            num_units=len(rows[cell.name]),
            is_done=cell.name in done,
            figures=book.figures(cell),
            against=book.against(cell),
            p=book.p(cell),
            left_s=left[cell.name],
        )
        for cell in study.cells
    ]
    return Findings(study=study, cells=cells, claims=[book.claim(claim) for claim in study.claims])


def _values(rows: list[Row], figure: str) -> Values:
    return {row["unit"]: row[figure] for row in rows if row.get(figure) is not None}


def costs(cells: Iterable[Cell], store: Store) -> dict[str, float]:
    """Return for each cell the estimated seconds on one core that it takes beyond those before it."""
    found, counted = {}, set()
    for cell in cells:
        jobs = [job for job in jobs_of([cell.work], store) if job.key not in counted]
        counted |= {job.key for job in jobs}
        found[cell.name] = estimate_s([job.work for job in jobs], store)
    return found


class _Book:
    """All figures by cell, figure and unit."""

    def __init__(self, study: Study, values: dict[str, dict[str, Values]], done: set[str]):
        self._study, self._values, self._done = study, values, done

    def figures(self, cell: Cell) -> dict[str, Estimate]:
        found = {figure: level(list(of.values()), figure) for figure, of in self._values[cell.name].items()}
        return {figure: estimate for figure, estimate in found.items() if estimate is not None}

    def _decisive(self, cell: Cell) -> Figure:
        return "success" if self._values[cell.name]["success"] else "action_error"

    def _compared(self, cell: Cell) -> list[tuple[float, float]]:
        other = self._study.reference_of(cell)
        if other is None or not {cell.name, other.name} <= self._done:
            return []
        return self._paired(cell, other, self._decisive(cell))

    def against(self, cell: Cell) -> Estimate | None:
        return difference(self._compared(cell), self._decisive(cell))

    def p(self, cell: Cell) -> float | None:
        pairs = self._compared(cell)
        if not pairs or self._decisive(cell) != "success":
            return None
        return mcnemar_p(sum(a > b for a, b in pairs), sum(a < b for a, b in pairs))

    def _paired(self, one: Cell, other: Cell, figure: str) -> list[tuple[float, float]]:
        mine, theirs = self._values[one.name][figure], self._values[other.name][figure]
        return [(mine[unit], theirs[unit]) for unit in sorted(mine.keys() & theirs.keys())]

    def claim(self, claim: Claim) -> ClaimReport:
        estimate = self._estimate(claim.first, claim.second, claim.figure)
        if claim.beside is not None and estimate is not None:
            beside = self._estimate(*claim.beside, claim.figure)
            estimate = None if beside is None else contrast(estimate, beside)
        return ClaimReport(claim=claim, verdict=judge(claim, estimate), estimate=estimate)

    def _estimate(self, first: Labels, second: Labels | None, figure: str) -> Estimate | None:
        """None before all the cells are done: what is decided must not depend on when one looks."""
        if second is None:
            cells = self._study.choose(first)
            values = [value for cell in cells for value in self._values[cell.name][figure].values()]
            return level(values, figure) if {cell.name for cell in cells} <= self._done else None
        pairs = self._study.pairs(first, second)
        if not {cell.name for pair in pairs for cell in pair} <= self._done:
            return None
        return difference([both for one, other in pairs for both in self._paired(one, other, figure)], figure)
