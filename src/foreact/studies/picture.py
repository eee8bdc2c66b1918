"""The one picture of a study: every cell's figure with its interval, drawn of its report's plain data."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from foreact.files import write_whole
from foreact.studies.measures import HeldOutErrors

ROW_INCHES = 0.28
FIGURES = {"success": "success, %", "action_error": "action error, model units"}

Cell = dict[str, Any]
"""As `report.json` has it."""


def draw(path: Path, report: dict[str, Any]) -> None:
    """Draw the figure of every cell that was run, with its interval; half-run ones in grey.

    Successes stand above errors on held-out episodes; a column of panels for each value of the first label.
    """
    cells: list[Cell] = [cell for cell in report["cells"] if _figure(cell) in cell["figures"]]
    if not cells:
        figure = Figure(figsize=(4, 1))
        figure.text(0.5, 0.5, "nothing was run yet", ha="center", va="center", color="0.4")
        write_whole(path, lambda target: figure.savefig(target, format="png", dpi=130))
        return
    panel, *others = cells[0]["labels"]
    values = list(dict.fromkeys(str(cell["labels"][panel]) for cell in cells))
    kinds = [name for name in FIGURES if any(_figure(cell) == name for cell in cells)]
    rows = [list(dict.fromkeys(_row(cell, others) for cell in cells if _figure(cell) == name)) for name in kinds]
    heights = [len(names) for names in rows]
    size = (2.2 + 2.6 * len(values), 0.6 + 0.8 * len(kinds) + ROW_INCHES * sum(heights))
    grid = {"sharex": "row", "sharey": "row", "squeeze": False, "gridspec_kw": {"height_ratios": heights}}
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(kinds), len(values), **grid)
    for line, name, names in zip(axes, kinds, rows, strict=True):
        for axis, value in zip(line, values, strict=True):
            of = [cell for cell in cells if _figure(cell) == name and str(cell["labels"][panel]) == value]
            _draw_panel(axis, name, [(names.index(_row(cell, others)), cell) for cell in of])
        line[0].set_yticks(range(len(names)), names, fontsize=8)
        line[0].set_ylim(len(names) - 0.5, -0.5)
    for axis, value in zip(axes[0], values, strict=True):
        axis.set_title(f"{panel} {value}", fontsize=9)
    write_whole(path, lambda target: figure.savefig(target, format="png", dpi=130))


def _figure(cell: Cell) -> str:
    """Return what a cell is asked for, run or not."""
    return "action_error" if Path(cell["folder"]).parts[0] == HeldOutErrors.kind else "success"


def _row(cell: Cell, others: list[str]) -> str:
    return ", ".join(f"{name} {cell['labels'][name]}" for name in others) or cell["name"]


def _draw_panel(axis, name: str, placed: list[tuple[int, Cell]]) -> None:
    factor = 100 if name == "success" else 1
    for place, cell in placed:
        estimate = cell["figures"][name]
        middle = factor * estimate["middle"]
        low, high = (middle if estimate[end] is None else factor * estimate[end] for end in ("low", "high"))
        look = {"color": "C0" if cell["is_done"] else "0.6", "fmt": "o", "capsize": 3}
        axis.errorbar(middle, place, xerr=[[middle - low], [high - middle]], **look)
    if name == "success":
        axis.set_xlim(-3, 103)
    axis.set_xlabel(FIGURES[name], fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
