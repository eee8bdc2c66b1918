"""`foreact demo`: episodes in real time, the first one twice: the robot waits for every chunk, then moves meanwhile."""

import dataclasses
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from foreact.commands.progress import console, progress_bar
from foreact.commands.run import load_policy, tell_imagination
from foreact.control.config import ControlConfig
from foreact.errors import ConfigurationError
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult
from foreact.evaluation.figures import draw_actions, draw_imagination, draw_turns
from foreact.evaluation.imagination import FrameErrors, frame_errors
from foreact.evaluation.live_view import LiveView, open_view
from foreact.evaluation.pictures import write_comparison
from foreact.evaluation.realtime import (
    RealtimeFigures,
    real_time_priority,
    realtime_config,
    rehearse,
    run_in_real_time,
)
from foreact.files import write_whole
from foreact.policy.controllers import ControlMode, check_mode
from foreact.policy.policy import Policy
from foreact.policy.schedules import describe_steps
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.tasks import get_task

PATIENCE = 2
"""Multiples of the task's time limit that an episode may take: a robot that stands still needs more time."""
MOST_LATE = 0.01
"""Share of late commands above which the machine is said to be too slow."""
FIGURES_FILE = "realtime.json"


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
        return f"{'done' if self.result.success else 'not done'} after {self.figures.duration_s:.1f} s"


def demo(
    policy_name: str,
    task: str,
    episodes: int,
    seed: int,
    schedule: str | None,
    controller: ControlMode | None,
    view: str | None,
    out: Path,
    threads: int | None,
) -> None:
    """See `foreact.cli.demo`."""
    if episodes < 1:
        raise ConfigurationError("episodes", got=episodes, allowed="1 or more")
    limit = get_task(task).max_steps
    policy = load_policy(policy_name, schedule, {}, "cpu", threads or spare_cores())
    mode = controller or best_mode(policy)
    check_mode(policy, mode)
    out.mkdir(parents=True, exist_ok=True)
    _introduce(policy, task, mode)
    with ExitStack() as opened:
        viewer = opened.enter_context(open_view(view, policy)) if view else None
        env = BimanualEnv(task, cameras=policy.embodiment.cameras, max_steps=PATIENCE * limit)
        opened.callback(env.close)
        shown = _run_all(policy, env, task, _plan(mode, seed, episodes), viewer)
    _tell(shown)
    _write_figures(out / FIGURES_FILE, shown)
    written = _draw_all(policy, task, shown, out)
    console.print(f"Everything is in [bold]{out}[/]. Look first at:")
    for path in [*written, *([view] if view and view.endswith(".rrd") else [])]:
        console.print(f"  [bold]{path}[/]")


def best_mode(policy: Policy) -> ControlMode:
    """Return the controller that the demo shows: acting while it thinks, if the policy was trained for that."""
    return "grounded" if policy.config.forward_dynamics else "synchronous"


def spare_cores() -> int:
    """Return the threads for the policy: the control loop has a core of its own."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def _plan(mode: ControlMode, seed: int, episodes: int) -> list[tuple[ControlMode, int]]:
    """Return (controller, seed) of all runs: the first episode once more, waiting for every chunk."""
    twin: list[tuple[ControlMode, int]] = [] if mode == "synchronous" else [("synchronous", seed)]
    return twin + [(mode, seed + number) for number in range(episodes)]


def _run_all(
    policy: Policy, env: BimanualEnv, task: str, runs: list[tuple[ControlMode, int]], viewer: LiveView | None
) -> list[Shown]:
    shown, configs = [], {}
    env.reset(seed=runs[0][1])
    with progress_bar() as bar:
        done = bar.add_task("rehearsing, so that nothing is slow for the first time", total=len(runs), figures="")
        for mode in dict(runs):
            configs[mode] = realtime_config(policy, rehearse(policy, env, mode))
        for mode, seed in runs:
            bar.update(done, description=f"seed {seed}, {mode}, in real time")
            title = f"{task}, seed {seed}, {mode}"
            shown.append(_run(policy, env, mode, seed, configs[mode], viewer, title))
            bar.update(done, advance=1, figures=shown[-1].outcome)
    return shown


def _run(
    policy: Policy,
    env: BimanualEnv,
    mode: ControlMode,
    seed: int,
    config: ControlConfig,
    viewer: LiveView | None,
    title: str,
) -> Shown:
    with ExitStack() as watched:

        def watch(record: EpisodeRecord) -> None:
            if viewer is not None:
                watched.enter_context(viewer.watch(record, title))

        result, record, report = run_in_real_time(policy, env, seed, mode=mode, config=config, on_start=watch)
    return Shown(mode=mode, result=result, record=record, figures=RealtimeFigures.of(result, report, config))


def _introduce(policy: Policy, task: str, mode: ControlMode) -> None:
    timing, settings = policy.embodiment.timing, policy.config
    parameters = sum(p.numel() for p in policy.networks.model.parameters()) / 1e6
    console.print(
        f"{policy.embodiment.description}\n"
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


def _tell(shown: list[Shown]) -> None:
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


def _write_figures(path: Path, shown: list[Shown]) -> None:
    lines = [
        {"seed": run.result.seed, "controller": run.mode, "success": run.result.success}
        | dataclasses.asdict(run.figures)
        for run in shown
    ]
    write_whole(path, (json.dumps(lines, indent=1) + "\n").encode())


def _draw_all(policy: Policy, task: str, shown: list[Shown], out: Path) -> list[Path]:
    """Write films and figures; return those to look at first."""
    seeds = list(dict.fromkeys(run.result.seed for run in shown))
    errors: list[FrameErrors] = []
    with progress_bar() as bar:
        done = bar.add_task("films and figures", total=len(seeds), figures="")
        for seed in seeds:
            runs = [run for run in shown if run.result.seed == seed]
            name = f"{task}-{seed}"
            captions = [(run.record, f"{task}, seed {seed}, {run.mode}: {run.short_outcome}") for run in runs]
            write_comparison(out / f"{name}.mp4", policy, captions)
            _draw_turns(out / f"{name}-turns.png", policy, runs)
            draw_actions(out / f"{name}-actions.png", policy, runs[-1].record)
            errors.append(frame_errors(policy, runs[-1].record))
            draw_imagination(out / f"{name}-imagination.png", errors[-1])
            bar.update(done, advance=1)
    tell_imagination(errors)
    return [out / f"{task}-{seeds[0]}{end}" for end in (".mp4", "-turns.png")]


def _draw_turns(path: Path, policy: Policy, runs: list[Shown]) -> None:
    records = {run.mode: run.record for run in runs}
    durations = {run.mode: run.figures.duration_s for run in runs}
    draw_turns(path, records, threshold=policy.config.disagreement_threshold, duration_s=durations)
