"""The summary of simulated episodes, as `foreact evaluate` prints it."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from foreact.commands.progress import console
from foreact.commands.worlds import describe_protocol
from foreact.environments.registry import OWN
from foreact.evaluation.imagination import FrameErrors, mean_psnr_db
from foreact.policy.policy import Policy
from foreact.policy.schedules import describe_steps


def summary_table(summary: Mapping[str, Any], policy: Policy) -> Table:
    """Return success, progress, imagination error and times of simulated episodes, from their `summary.json`."""
    table = Table(show_header=False, box=None)
    low, high = summary["ci95_low"], summary["ci95_high"]
    table.add_row("task", summary["task"])
    if not summary["world"].startswith(f"{OWN}/"):
        table.add_row("protocol", describe_protocol(summary))
    if summary["disturbance"] != "none":
        table.add_row("disturbance", f"{summary['disturbance']}, in {summary['episodes_disturbed']} of the episodes")
    table.add_row("schedule", describe_steps(policy.config))
    table.add_row(
        "success",
        f"{summary['success_rate']:.0%} of {summary['episodes']} episodes (95 % interval {low:.0%} to {high:.0%})",
    )
    table.add_row("progress", f"{summary['progress']:.2f}")
    if summary["imagination_error"] is not None:
        error = f"{summary['imagination_error']:.3f} (0: exactly as seen; 1: one standard deviation of latents)"
        table.add_row("imagination error", error)
    table.add_row(
        "chunk", f"{summary['chunk_ms']:.0f} ms, {summary['realtime_ratio']:.2f} of the time it takes to execute"
    )
    table.add_row("stages", ", ".join(f"{name} {value:.0f} ms" for name, value in summary["stage_ms"].items()))
    return table


def tell_imagination(errors: list[FrameErrors]) -> None:
    """Print how near imagined pictures came to real ones; nothing if nothing moved."""
    psnr = mean_psnr_db(errors)
    if psnr is None:
        return
    compared = "nearer to the cameras' frames than" if psnr[0] > psnr[1] else "no nearer to the cameras' frames than"
    console.print(
        f"Imagined frames were {compared} the last frame held still: {psnr[0]:.1f} dB against {psnr[1]:.1f} dB "
        f"(PSNR, higher is nearer; {len(errors)} episode{'s' * (len(errors) != 1)}, frames in which something moves)."
    )
