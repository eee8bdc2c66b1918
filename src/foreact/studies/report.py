"""A study's report: one JSON with every figure, and made of that alone the tables, as Markdown, and one picture."""

from math import fsum, isfinite
from pathlib import Path
from typing import Any

from foreact.files import write_whole
from foreact.studies.claims import Estimate
from foreact.studies.judging import CellReport, ClaimReport, Findings
from foreact.studies.picture import draw
from foreact.studies.store import Store
from foreact.studies.work import write_json

SHARES = ("success", "progress")
READING = (
    "Intervals are of 95 %, over seeds or recorded episodes alone: each network was trained once, and another "
    "training might differ by more. They are not corrected for how many claims there are: of forty without any effect "
    "one would hold. Differences are of the same seeds, in points where they are of shares. "
    "Milliseconds are of the clock on the wall, beside whatever else the machine did."
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
    plain = as_plain(findings, store)
    write_json(folder / "report.json", plain)
    write_whole(folder / "report.md", as_markdown(plain).encode())
    draw(folder / "figure.png", plain)


def as_plain(findings: Findings, store: Store) -> dict[str, Any]:
    """Return all that is known as plain data; folders are relative to the store."""
    study = findings.study
    return {
        "study": study.name,
        "question": study.question,
        "reference": dict(study.reference),
        "cells": [_plain_cell(report, findings, store) for report in findings.cells],
        "claims": [_plain_claim(report) for report in findings.claims],
        "left_s": fsum(report.left_s for report in findings.cells),
    }


def _plain_cell(report: CellReport, findings: Findings, store: Store) -> dict[str, Any]:
    work, study = report.cell.work, findings.study
    return {
        "name": report.cell.name,
        "labels": dict(report.cell.labels),
        "is_reference": any(each is report.cell for each in study.choose(study.reference)),
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


def as_markdown(plain: dict[str, Any]) -> str:
    """Return a report to be read: claims first, then all cells, then what has not been run and what it would cost."""
    parts = [f"# {plain['study']}", plain["question"], READING]
    if plain["claims"]:
        parts.append("## Claims\n\n" + claims_table(plain))
    if any(cell["num_units"] for cell in plain["cells"]):
        parts.append("## Cells\n\n" + cells_table(plain))
    missing = [cell for cell in plain["cells"] if not cell["is_done"]]
    if missing:
        hours = sum(cell["left_s"] for cell in missing) / 3600
        rows = [[cell["name"], f"{cell['num_units']} of {cell['size']}", duration(cell["left_s"])] for cell in missing]
        table = _table(["cell", "units", "estimated, one core, beyond those above"], rows)
        parts.append(f"## Not run yet\n\nAbout {hours:.1f} hours of one core in all.\n\n" + table)
    return "\n\n".join(parts) + "\n"


def claims_table(plain: dict[str, Any]) -> str:
    """Return how a report's claims stand."""
    return _table(["claim", "found", "must be more than", "verdict"], [_claim_row(claim) for claim in plain["claims"]])


def cells_table(plain: dict[str, Any]) -> str:
    """Return what is known of a report's cells, of half-run ones too."""
    known = [cell for cell in plain["cells"] if cell["num_units"]]
    figures = [name for name in TITLES if any(name in cell["figures"] for cell in known)]
    rows = [
        [
            *(str(label) for label in cell["labels"].values()),
            f"{cell['num_units']}" + ("" if cell["is_done"] else f" of {cell['size']}"),
            *(_shown(cell["figures"].get(name), name) for name in figures),
            _compared(cell),
        ]
        for cell in known
    ]
    labels = list(plain["cells"][0]["labels"])
    return _table([*labels, "episodes", *(TITLES[name] for name in figures), "less the reference's"], rows)


def _compared(cell: dict[str, Any]) -> str:
    if cell["is_reference"]:
        return "(the reference)"
    against = cell["against_reference"]
    details = _shown(against, "success" if "success" in cell["figures"] else "action_error", sign="+")
    return details if against is None or against["p"] is None else f"{details}, p = {against['p']:.2g}"


def found(claim: dict[str, Any]) -> str:
    """Return what was found of a claim, with its interval; a dash before all its cells are done."""
    return _shown(claim["estimate"], claim["figure"], sign=_sign(claim))


def _sign(claim: dict[str, Any]) -> str:
    return "+" if claim["second"] else ""


def _claim_row(claim: dict[str, Any]) -> list[str]:
    sign, limit = _sign(claim), claim["more_than"]
    bound = f"{100 * limit:{sign}.0f} %" if claim["figure"] in SHARES else f"{limit:{sign}g}"
    return [claim["claim"], found(claim), bound, f"**{claim['verdict']}**"]


def _shown(estimate: dict[str, Any] | None, figure: str, sign: str = "") -> str:
    if estimate is None:
        return "-"
    factor, digits, unit = (100, 0, " %") if figure in SHARES else (1, 0 if figure == "chunk_ms" else 3, "")

    def details(end: str) -> str:
        return f"{factor * estimate[end]:{sign}.{digits}f}"

    interval = "of one alone" if estimate["low"] is None else f"{details('low')} to {details('high')}"
    return f"{details('middle')}{unit} ({interval})"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def duration(seconds: float) -> str:
    """Return a time in words, to be read at a glance."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
