"""A picture of timed chunks."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from foreact.cost.chunks import Timing
from foreact.evaluation.style import house_style
from foreact.files import write_whole


@house_style()
def draw_timings(path: Path, name: str, window: int, stages: Sequence[str], timings: Sequence[Timing]) -> None:
    """Draw milliseconds of each stage by length of history, and chunks a second by number of sessions.

    Args:
        path: Gets the picture (PNG), whole or not at all.
        name: Of what was timed.
        window: Latent frames of a full history.
        stages: In the order in which they are stacked.
        timings: What was measured.
    """
    figure = Figure(figsize=(10, 3.6), layout="tight")
    by_history, by_sessions = figure.subplots(1, 2)
    alone = [timing for timing in timings if timing.setting.sessions == 1]
    bottom = [0.0] * len(alone)
    names = [str(timing.setting.history) for timing in alone]
    for stage in stages:
        heights = [timing.stage_ms.get(stage, 0.0) for timing in alone]
        by_history.bar(names, heights, bottom=bottom, label=stage.replace("_", " "))
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    by_history.set(xlabel="latent frames of history", ylabel="milliseconds a chunk")
    by_history.set_title(f"{name}: " + (f"{bottom[-1]:.0f} ms a chunk with {names[-1]} frames" if alone else "stages"))
    by_history.margins(y=0.25)
    by_history.legend(ncols=2, loc="upper left")
    full = sorted(
        (timing for timing in timings if timing.setting.history == window), key=lambda timing: timing.setting.sessions
    )
    counts = [timing.setting.sessions for timing in full]
    by_sessions.plot(counts, [timing.chunks_per_s for timing in full], "o-")
    by_sessions.set(xlabel="sessions in a batch (full window)", ylabel="chunks a second, all together", xticks=counts)
    by_sessions.set_ylim(bottom=0)
    if len(full) > 1:
        gain = full[-1].chunks_per_s / full[0].chunks_per_s
        by_sessions.set_title(f"{counts[-1]} sessions: {gain:.1f} times the chunks of {counts[0]}")
    write_whole(path, lambda target: figure.savefig(target, format="png", dpi=130))
