"""All studies in one document. Whatever it says is read from their reports; nothing in it is typed by hand."""

from collections.abc import Mapping
from math import fsum
from pathlib import Path
from typing import Any

from foreact.files import write_whole
from foreact.settings import read_json
from foreact.studies.catalogue import STUDIES
from foreact.studies.cells import Study
from foreact.studies.judging import costs, find
from foreact.studies.ledger import LEDGER_FILE, Ledger, read_ledger, write_ledger
from foreact.studies.picture import draw
from foreact.studies.report import READING, as_plain, cells_table, claims_table, duration, found
from foreact.studies.store import Store
from foreact.studies.work import write_json

DOCUMENT = "evidence.md"
FOLDER = "evidence"
"""Beside the document: what it is made of."""
SPENT = "spent.json"
KINDS = {"held_out": "errors on held-out episodes"}
"""Kinds of work whose names are not words."""
LEFT_OUT = ("quick",)
"""It shows how studies work, and decides nothing."""
ELSEWHERE = """## Measured elsewhere

- [Four questions to one network](modes.md): policy, video only, forward and inverse dynamics, with errors.
- [Acting while thinking](../experiments/asynchrony): four controllers, five latencies, three tasks.
- [What is remembered](../experiments/memory): the choice of the bin alone, grasping and handing over set aside.
- [Drift](../experiments/drift): imagination against reality over an episode, by controller.
- [Others' policies](../experiments/others_policies): ACT and Diffusion Policy on the same demonstrations and seeds.
- [Where the action stream begins](../experiments/initialization): interpolated, copied, random."""
NAMES = tuple(name for name in STUDIES if name not in LEFT_OUT)


def gather(store: Store, docs: Path) -> None:
    """Write every study's report into `docs`/evidence, and, once something has been run, its picture beside it.

    The ledger there grows by what the store holds. Cells of the reports there that rest on more than both know are
    kept: what they were made of is gone, and a poorer figure is no substitute.
    """
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    studies = {name: STUDIES[name]() for name in NAMES}
    paths = {name: folder / f"{name}.json" for name in studies}
    earlier = {name: read_json(path) for name, path in paths.items() if path.exists()}
    for name, study in studies.items():
        report = _keeping(earlier, as_plain(find(study, store), store), study, store)
        write_json(paths[name], report)
        if _is_begun(report):
            draw(folder / f"{name}.png", report)
    write_ledger(folder, store.extended_ledger(cell.work for study in studies.values() for cell in study.cells))
    write_json(folder / SPENT, store.spent_s())


def _keeping(
    earlier: Mapping[str, dict[str, Any]], report: dict[str, Any], study: Study, store: Store
) -> dict[str, Any]:
    """Return a report with what earlier ones, by study, know of the same work from more units.

    If all its cells were of the same work then, it keeps the claims that the new report alone cannot judge.
    """
    elsewhere = {cell["folder"]: cell for other in earlier.values() for cell in other["cells"] if cell["is_done"]}
    own = earlier.get(study.name, {"cells": [], "claims": []})
    before = {(cell["name"], cell["folder"]): cell for cell in own["cells"]}
    cells = []
    for now in report["cells"]:
        known = elsewhere.get(now["folder"], now)
        shared = now | {key: known[key] for key in ("num_units", "is_done", "figures")}
        same = before.get((now["name"], now["folder"]), now)
        cells.append(max(now, same, shared, key=lambda cell: cell["num_units"]))
    done = {cell["name"] for cell in cells if cell["is_done"]}
    left_s = costs([cell for cell in study.cells if cell.name not in done], store)
    claims = report["claims"]
    if before.keys() == {(cell["name"], cell["folder"]) for cell in cells}:
        details = {claim["claim"]: claim for claim in own["claims"] if claim["estimate"]}
        claims = [claim if claim["estimate"] else details.get(claim["claim"], claim) for claim in claims]
    cells = [cell | {"left_s": left_s.get(cell["name"], 0.0)} for cell in cells]
    return report | {"cells": cells, "claims": claims, "left_s": fsum(left_s.values())}


def write_document(docs: Path) -> None:
    """Write `docs`/evidence.md from the reports in `docs`/evidence.

    Raises:
        CheckpointError: A report is missing or cannot be read.
    """
    write_whole(docs / DOCUMENT, as_document(docs / FOLDER).encode())


def as_document(folder: Path) -> str:
    """Return the document that the reports in a folder make."""
    reports = [read_json(folder / f"{name}.json") for name in NAMES]
    spent: dict[str, float] = read_json(folder / SPENT)
    parts = ["# Evidence", _introduction(reports, spent, read_ledger(folder)), "## Every claim", _verdicts(reports)]
    for report in reports:
        parts += [f"## {report['study']}", *_about(report)]
    return "\n\n".join([*parts, ELSEWHERE]) + "\n"


def _introduction(reports: list[dict[str, Any]], spent: dict[str, float], ledger: Ledger) -> str:
    cells = {cell["folder"]: cell for report in reports for cell in report["cells"]}  # several studies may share one
    done = [folder for folder, cell in cells.items() if cell["is_done"]]
    without = sum(folder not in ledger for folder in done)
    hours = ", ".join(f"{duration(seconds)} of {KINDS.get(kind, kind)}" for kind, seconds in spent.items())
    return (
        "Claims are written down in the studies ([src/foreact/studies/catalogue](../src/foreact/studies/catalogue)) "
        "before anything is run, and judged by their intervals alone; those that failed stand beside those that held. "
        f"{READING}\n\n"
        f"Of {len(cells)} different cells {len(done)} have been run, on one core each: "
        f"{hours or 'nothing yet'}. The others are listed with what they would take. Any line can be run again, "
        f"and what is missing be added; what [the ledger]({FOLDER}/{LEDGER_FILE}) has, seed by seed, is not run again"
        f"{f' (it lacks {without} of those cells, of which only the figures below were kept)' if without else ''}:\n\n"
        "    foreact study imagination --known docs/evidence --workers 2    # or another of the names below\n"
        "    foreact evidence --studies outputs/studies    # this page, from what there is"
    )


def _verdicts(reports: list[dict[str, Any]]) -> str:
    """Return how many claims hold, fail, are open, and which, with what was found of them."""
    lines: dict[str, list[str]] = {"holds": [], "fails": []}
    for report in reports:
        for claim in report["claims"]:
            details = f"- [{report['study']}](#{report['study']}): {claim['claim']}"
            details += f": {found(claim)}" if claim["estimate"] else ""
            lines.setdefault(claim["verdict"], []).append(details)
    parts = [f"**{verdict}** ({len(claims)})\n\n" + "\n".join(claims) for verdict, claims in lines.items()]
    return "\n\n".join(part.rstrip() for part in parts)


def _about(report: dict[str, Any]) -> list[str]:
    name = report["study"]
    parts = [report["question"], claims_table(report)]
    if _is_begun(report):
        parts += [cells_table(report), f"![every cell of {name} with its interval]({FOLDER}/{name}.png)"]
    missing = [cell for cell in report["cells"] if not cell["is_done"]]
    if missing:
        left = duration(sum(cell["left_s"] for cell in missing))
        parts.append(f"Not run, about {left} of one core (`foreact study {name}`):\n\n{_by_task(missing)}")
    return parts


def _by_task(cells: list[dict[str, Any]]) -> str:
    """Return a line for each of the cells' first settings, which are tasks: what is asked of it, setting by setting."""
    tasks: dict[str, list[str]] = {}
    for cell in cells:
        (axis, task), *rest = cell["labels"].items()
        tasks.setdefault(f"{axis} {task}", []).append(" ".join(f"{name} {value}" for name, value in rest))
    return "\n".join(f"- {task}: {'; '.join(asked)}" for task, asked in tasks.items())


def _is_begun(report: dict[str, Any]) -> bool:
    return _num_units(report) > 0


def _num_units(report: dict[str, Any]) -> int:
    return sum(cell["num_units"] for cell in report["cells"])
