"""What `foreact demo` writes of the episodes that it ran: films, figures, and a JSON of both."""

import dataclasses
import json
from pathlib import Path

from foreact.commands.demo_report import Shown
from foreact.commands.evaluate_summary import tell_imagination
from foreact.commands.progress import progress_bar
from foreact.evaluation.figures import draw_actions, draw_imagination, draw_turns
from foreact.evaluation.imagination import FrameErrors, frame_errors
from foreact.evaluation.pictures import write_comparison
from foreact.files import write_whole
from foreact.policy.policy import Policy


def write_figures(path: Path, shown: list[Shown]) -> None:
    """Write the figures of every episode as JSON."""
    lines = [
        {"seed": run.result.seed, "controller": run.mode, "success": run.result.success}
        | dataclasses.asdict(run.figures)
        for run in shown
    ]
    write_whole(path, (json.dumps(lines, indent=1) + "\n").encode())


def draw_all(policy: Policy, task: str, shown: list[Shown], out: Path) -> list[Path]:
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
    outcomes = {run.mode: run.short_outcome for run in runs}
    draw_turns(path, records, threshold=policy.config.disagreement_threshold, duration_s=durations, outcomes=outcomes)
