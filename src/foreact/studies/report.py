"""A study's report: one JSON with every figure, and made of it one table as Markdown and one picture."""

from math import isfinite
from pathlib import Path
from typing import Any

from foreact.files import write_whole
from foreact.studies.cells import Cell
from foreact.studies.claims import Estimate
from foreact.studies.judging import CellReport, ClaimReport, Findings
from foreact.studies.picture import draw
from foreact.studies.store import Store
from foreact.studies.work import write_json

SHARES = ("success", "progress")
READING = (
    "Intervals are of 95 %. Differences are of the same seeds, in points where they are of shares. Milliseconds are of "
    "the clock on the wall, beside whatever else the machine did."
)
TITLES = {
    "success": "success",
    "progress": "progress",
    "imagination_error": "imagination error",
    "chunk_ms": "ms a chunk",
    "action_error": "action error",
    "imagination_psnr_db": "imagination, dB",
}


def write_report(findings: Findings, store: Store, folder: Path) -> None:
    """Write `report.json`, `report.md` and `figure.png` of a study, however much of it has been run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "report.json", as_plain(findings, store))
    write_whole(folder / "report.md", as_markdown(findings).encode())
    draw(folder / "figure.png", findings)


def as_plain(findings: Findings, store: Store) -> dict[str, Any]:
    """Return all that is known as plain data; folders are relative to the store."""
    study = findings.study
    return {
        "study": study.name,
        "question": study.question,
        "reference": dict(study.reference),
        "cells": [_plain_cell(report, store) for report in findings.cells],
        "claims": [_plain_claim(report) for report in findings.claims],
        "left_s": sum(report.left_s for report in findings.cells),
    }


def _plain_cell(report: CellReport, store: Store) -> dict[str, Any]:
    work = report.cell.work
    return {
        "labels": dict(report.cell.labels),
        "is_done": report.is_done,
        "num_units": report.num_units,
        "size": work.size,
        "figures": {figure: _plain_estimate(estimate) for figure, estimate in report.figures.items()},
        "against_reference": None if report.against is None else _plain_estimate(report.against) | {"p": report.p},
        "left_s": report.left_s,
        "folder": store.folder(work).relative_to(store.root).as_posix(),
    }


def _plain_claim(report: ClaimReport) -> dict[str, Any]:
    claim = report.claim
    return {
        "claim": claim.name,
        "figure": claim.figure,
        "first": dict(claim.first),
        "second": None if claim.second is None else dict(claim.second),
        "beside": None if claim.beside is None else [dict(labels) for labels in claim.beside],
        "more_than": claim.more_than,
        "estimate": None if report.estimate is None else _plain_estimate(report.estimate),
        "verdict": report.verdict,
    }


def _plain_estimate(estimate: Estimate) -> dict[str, Any]:
    ends = {"low": estimate.low, "high": estimate.high}
    return {
        "middle": estimate.middle,
        **{name: end if isfinite(end) else None for name, end in ends.items()},
        "num_units": estimate.num_units,
    }


def as_markdown(findings: Findings) -> str:
    """Return the report to be read: claims first, then all cells, then what has not been run and what it would cost."""
    parts = [f"# {findings.study.name}", findings.study.question]
    parts.append(READING)
    if findings.claims:
        rows = [_claim_row(report) for report in findings.claims]
        parts.append("## Claims\n\n" + _table(["claim", "found", "must be more than", "verdict"], rows))
    known = [report for report in findings.cells if report.num_units]
    if known:
        parts.append("## Cells\n\n" + _cells_table(findings, known))
    missing = [report for report in findings.cells if not report.is_done]
    if missing:
        hours = sum(report.left_s for report in missing) / 3600
        rows = [[_named(r.cell), f"{r.num_units} of {r.cell.work.size}", duration(r.left_s)] for r in missing]
        table = _table(["cell", "units", "estimated, one core, beyond those above"], rows)
        parts.append(f"## Not run yet\n\nAbout {hours:.1f} hours of one core in all.\n\n" + table)
    return "\n\n".join(parts) + "\n"


def _cells_table(findings: Findings, known: list[CellReport]) -> str:
    labels = list(findings.study.cells[0].labels)
    figures = [name for name in TITLES if any(name in report.figures for report in known)]
    against = "less the reference's"
    rows = [
        [
            *(str(report.cell.labels[name]) for name in labels),
            f"{report.num_units}" + ("" if report.is_done else f" of {report.cell.work.size}"),
            *(_shown(report.figures.get(name), name) for name in figures),
            _compared(findings, report),
        ]
        for report in known
    ]
    return _table([*labels, "episodes", *(TITLES[name] for name in figures), against], rows)


def _compared(findings: Findings, report: CellReport) -> str:
    if findings.study.reference_of(report.cell) is None:
        return "(the reference)" if _is_reference(findings, report.cell) else "-"
    figure = "success" if "success" in report.figures else "action_error"
    told = _shown(report.against, figure, sign="+")
    return told if report.p is None else f"{told}, p = {report.p:.2g}"


def _is_reference(findings: Findings, cell: Cell) -> bool:
    return any(each is cell for each in findings.study.choose(findings.study.reference))


def _claim_row(report: ClaimReport) -> list[str]:
    claim = report.claim
    sign = "+" if claim.second else ""
    limit = f"{100 * claim.more_than:{sign}.0f} %" if claim.figure in SHARES else f"{claim.more_than:{sign}g}"
    return [claim.name, _shown(report.estimate, claim.figure, sign=sign), limit, f"**{report.verdict}**"]


def _shown(estimate: Estimate | None, figure: str, sign: str = "") -> str:
    if estimate is None:
        return "-"
    factor, digits, unit = (100, 0, " %") if figure in SHARES else (1, 0 if figure == "chunk_ms" else 3, "")
    middle, low, high = (f"{factor * end:{sign}.{digits}f}" for end in (estimate.middle, estimate.low, estimate.high))
    return f"{middle}{unit} ({low} to {high})" if isfinite(estimate.low) else f"{middle}{unit} (of one alone)"


def _named(cell: Cell) -> str:
    return cell.name


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def duration(seconds: float) -> str:
    """Return a time in words, to be read at a glance."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
