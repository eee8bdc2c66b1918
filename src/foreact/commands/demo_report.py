"""What `foreact demo` says before its episodes and after them."""

from dataclasses import dataclass

from rich.table import Table

from foreact.commands.progress import console, plain
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult
from foreact.evaluation.realtime import RealtimeFigures, real_time_priority
from foreact.policy.controllers import ControlMode
from foreact.policy.policy import Policy
from foreact.policy.schedules import describe_steps

MOST_LATE = 0.01
"""Share of late commands above which the machine is said to be too slow."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One episode of the demo."""

    mode: ControlMode
    result: EpisodeResult
    record: EpisodeRecord
    figures: RealtimeFigures

    @property
    def outcome(self) -> str:
        """How it ended and when, and how far it got."""
        if self.result.success:
            return self.short_outcome
        return f"{self.short_outcome}, {self.result.progress:.0%} of the way, at {self.result.stage!r}"

    @property
    def short_outcome(self) -> str:
        """How it ended and when."""
        return f"{'done' if self.result.success else 'failed: not done'} after {self.figures.duration_s:.1f} s"


def introduce(policy: Policy, task: str, mode: ControlMode) -> None:
    """Print what will be seen."""
    timing, settings = policy.embodiment.timing, policy.config
    parameters = sum(p.numel() for p in policy.networks.model.parameters()) / 1e6
    console.print(
        f"{plain(policy.embodiment.description)}\n"
        f"Task: {task}, in episodes it has never seen, in real time: the world does not wait. "
        f"The policy ({parameters:.1f} M weights) imagines "
        f"{settings.latent_frames_per_chunk * timing.vae_factor} camera frames, decodes the "
        f"{policy.actions_per_chunk} actions that lead there, executes them at {timing.action_hz:g} Hz, "
        "and replaces what it imagined by what it saw.\n"
        f"A chunk takes {describe_steps(settings)}."
    )
    if mode == "synchronous":
        console.print("The robot stands still while a chunk is computed.")
        return
    console.print(
        f"Controller: {mode}. While one chunk is executed the next is computed. The first episode is run twice: "
        "before that, the robot stands still for every chunk (synchronous)."
    )


def print_report(shown: list[Shown]) -> None:
    """Print what became of every episode, the first one's two runs side by side."""
    first = [run for run in shown if run.result.seed == shown[0].result.seed]
    console.print(_table(first))
    for run in shown[len(first) :]:
        console.print(
            f"seed {run.result.seed}: {run.outcome}, in {run.figures.num_chunks} chunks; "
            f"idle {run.figures.idle_s:.1f} s ({run.figures.idle_share:.0%})."
        )
    num_ticks = sum(run.figures.num_ticks for run in shown)
    late = sum(run.figures.num_late_ticks for run in shown) / num_ticks
    missed = sum(run.figures.num_missed_ticks for run in shown)
    if late > MOST_LATE or missed:
        cure = "" if _goes_first() else " It may not raise its own priority: run it as root, or with CAP_SYS_NICE."
        console.print(
            f"[yellow]This machine did not keep up with the clock: {late:.1%} of the commands came late, "
            f"{missed} deadlines were missed.[/]{cure}"
        )


def _goes_first() -> bool:
    with real_time_priority() as granted:
        return granted


def _table(runs: list[Shown]) -> Table:
    table = Table("the same episode" if len(runs) > 1 else "", *(run.mode for run in runs), box=None)
    rows = {
        "outcome": lambda run: run.outcome,
        "first chunk awaited": lambda run: f"{run.figures.first_chunk_s:.2f} s",
        "idle after that": lambda run: f"{run.figures.idle_s:.2f} s ({run.figures.idle_share:.0%})",
        "chunk computed in": lambda run: _delay(run.figures),
        "chunks": lambda run: f"{run.figures.num_chunks}, {run.figures.num_late_chunks} of them late",
        "stopped to see first": lambda run: f"{run.figures.num_fallbacks} times",
        "disagreement": lambda run: _number(run.figures.disagreement),
        "commands over 5 ms late": lambda run: f"{run.figures.num_late_ticks} of {run.figures.num_ticks}",
        "worst lateness": lambda run: f"{run.figures.worst_lateness_ms:.1f} ms",
        "deadlines missed": lambda run: str(run.figures.num_missed_ticks),
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(run) for run in runs))
    return table


def _delay(figures: RealtimeFigures) -> str:
    if figures.delay_ms is None:
        return "-"
    return f"{figures.delay_ms[0]:.0f} ms, 95 % within {figures.delay_ms[1]:.0f} ms"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
