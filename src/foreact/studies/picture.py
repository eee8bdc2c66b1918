"""The one picture of a study: every cell's figure with its interval."""

from math import isfinite
from pathlib import Path

import matplotlib

from foreact.files import write_whole
from foreact.studies.judging import CellReport, Findings

matplotlib.use("Agg")

from matplotlib import pyplot as plt

ROW_INCHES = 0.28
FIGURES = {"success": "success, %", "action_error": "action error, model units"}


def draw(path: Path, findings: Findings) -> None:
    """Draw each known cell's success, or action error, with its interval: a panel for each value of the first label."""
    cells = findings.study.cells
    panel, *others = cells[0].labels
    values = list(dict.fromkeys(str(cell.labels[panel]) for cell in cells))
    rows = list(dict.fromkeys(_row(report, others) for report in findings.cells))
    size = (2.2 + 2.6 * len(values), 1.4 + ROW_INCHES * len(rows))
    figure, axes = plt.subplots(1, len(values), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, value in zip(axes[0], values, strict=True):
        shown = [report for report in findings.cells if str(report.cell.labels[panel]) == value]
        _draw_panel(axis, [(rows.index(_row(report, others)), report) for report in shown])
        axis.set_title(f"{panel} {value}", fontsize=9)
    axes[0, 0].set_yticks(range(len(rows)), rows, fontsize=8)
    axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)
    write_whole(path, lambda target: figure.savefig(target, format="png", dpi=130))
    plt.close(figure)


def _row(report: CellReport, others: list[str]) -> str:
    return ", ".join(f"{name} {report.cell.labels[name]}" for name in others) or report.cell.name


def _draw_panel(axis, placed: list[tuple[int, CellReport]]) -> None:
    name = next((name for name in FIGURES if any(name in report.figures for _, report in placed)), "success")
    factor = 100 if name == "success" else 1
    for place, report in placed:
        estimate = report.figures.get(name)
        if estimate is None:
            axis.text(0.5, place, "not run", fontsize=7, color="0.6", ha="center", transform=axis.get_yaxis_transform())
            continue
        middle, *ends = (factor * end for end in (estimate.middle, estimate.low, estimate.high))
        low, high = (end if isfinite(end) else middle for end in ends)
        look = {"color": "C0" if report.is_done else "0.6", "fmt": "o", "capsize": 3}
        axis.errorbar(middle, place, xerr=[[middle - low], [high - middle]], **look)
    if name == "success":
        axis.set_xlim(-3, 103)
    axis.set_xlabel(FIGURES[name], fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
