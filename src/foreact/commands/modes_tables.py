"""What `foreact modes` prints: a table of errors, and what is decided by the differences."""

from rich.table import Table

from foreact.commands.progress import bold, console
from foreact.evaluation.modes import (
    ACTIONS,
    ACTIONS_IN,
    COMPARED,
    FORWARD,
    FORWARD_STILL,
    HELD,
    INVERSE,
    INVERSE_STILL,
    LATENTS,
    PIXELS,
    POLICY,
    VIDEO_ONLY,
    EpisodeErrors,
    Estimate,
    estimate,
)


def print_report(errors: list[EpisodeErrors], estimates: dict[str, dict[str, Estimate]]) -> None:
    """Print the table, and what is decided by the differences."""
    units = {name: f"actions,\n{name.removeprefix(ACTIONS_IN)}" for name in estimates if name.startswith(ACTIONS_IN)}
    heads = {ACTIONS: "actions,\nmodel units", **units, LATENTS: "latent\ndistance", PIXELS: "PSNR,\ndB"}
    table = Table(box=None, pad_edge=False)
    table.add_column("asked", vertical="bottom", no_wrap=True)
    for head in heads.values():
        table.add_column(head, justify="right", vertical="bottom", no_wrap=True)
    for who in (POLICY, VIDEO_ONLY, FORWARD, FORWARD_STILL, INVERSE, INVERSE_STILL, HELD):
        cells = [_cell(estimates[measure].get(who), measure) for measure in heads]
        table.add_row(
            "last one held" if who == HELD else who,
            *cells,
            style="dim" if who in (HELD, FORWARD_STILL, INVERSE_STILL) else None,
        )
    console.print(table)
    for measure, more, less in COMPARED:
        console.print(_verdict(estimate(errors, measure, more, less), measure, more, less))
    console.print(
        f"Means over {len(errors)} held-out episodes, chunk by chunk from their real history, with 95 % "
        "intervals (bootstrap over episodes). PSNR: over pictures in which something moves; more is better.",
        style="dim",
    )


def _cell(figure: Estimate | None, measure: str) -> str:
    if figure is None:
        return ""
    digits = 1 if measure == PIXELS else 3
    return f"{figure.value:.{digits}f}\n{figure.low:.{digits}f} to {figure.high:.{digits}f}"


def _verdict(difference: Estimate, measure: str, more: str, less: str) -> str:
    name = {ACTIONS: "action error", LATENTS: "latent distance", PIXELS: "PSNR"}[measure]
    better = (difference.value > 0) == (measure == PIXELS)
    verdict = ("better" if better else "worse") if difference.is_decided else "not decided"
    digits = 2 if measure == PIXELS else 4
    figures = f"{difference.value:+.{digits}f} ({difference.low:+.{digits}f} to {difference.high:+.{digits}f})"
    return f"{name}, {more} less {less}: {figures}: {bold(verdict)}"
