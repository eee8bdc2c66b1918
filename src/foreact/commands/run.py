"""`foreact evaluate`, and what other commands that run a policy share with it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from foreact.commands.progress import console, progress_bar, use_device
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult
from foreact.evaluation.imagination import FrameErrors, frame_errors, mean_psnr_db
from foreact.evaluation.pictures import write_video
from foreact.evaluation.suite import SUMMARY_FILE, EvaluationConfig
from foreact.evaluation.suite import evaluate as run_suite
from foreact.policy.checkpoint import load
from foreact.policy.compiled import warm_up
from foreact.policy.controllers import ControlMode, with_room
from foreact.policy.policy import Policy
from foreact.policy.schedules import apply_schedule, describe_steps, get_schedule


def evaluate(
    policy_name: str,
    task: str,
    out: Path,
    episodes: int,
    seed: int,
    schedule: str | None,
    changes: Mapping[str, Any],
    execution_horizon: int | None,
    controller: ControlMode,
    latency_ms: float,
    videos: int,
    compile: bool,
    device: str,
    threads: int | None,
) -> None:
    """See `foreact.cli.evaluate`."""
    config = EvaluationConfig(
        task=task,
        num_episodes=episodes,
        seed=seed,
        controller=controller,
        latency_ms=latency_ms,
        execution_horizon=execution_horizon,
    )
    policy = load_policy(policy_name, schedule, changes, device, threads, compile=compile)

    errors: list[FrameErrors] = []

    def film(result: EpisodeResult, record: EpisodeRecord) -> None:
        if result.seed < seed + videos:
            write_video(out / f"episode-{result.seed}.mp4", policy, record, _caption(task, result))
            errors.append(frame_errors(policy, record))

    summary = _run(policy, config, out, film)
    console.print(_summary_table(summary, policy))
    tell_imagination(errors)
    console.print(f"Everything is in [bold]{out}[/].")


def load_policy(
    name: str,
    schedule: str | None,
    changes: Mapping[str, Any],
    device: str,
    threads: int | None,
    *,
    compile: bool = False,
) -> Policy:
    """Return a policy on its device, its schedule applied and, if wanted, compiled."""
    if schedule is not None:
        get_schedule(schedule)  # an unknown one is told before anything large is loaded
    loaded = load(name, device=use_device(device, threads), compile=compile)
    policy = apply_schedule(loaded, schedule, **changes)
    if compile:
        with console.status("compiling, every shape that a session needs"):
            seconds = warm_up(with_room(policy).predictor)
        console.print(f"Compiled in {seconds:.0f} s.")
    return policy


def _run(policy: Policy, config: EvaluationConfig, out: Path, on_record) -> dict[str, Any]:
    successes = 0
    with progress_bar() as bar:
        shown = bar.add_task(config.task, total=config.num_episodes, figures="")
        for count, result in enumerate(run_suite(policy, config, out, on_record=on_record), 1):
            successes += result.success
            bar.update(shown, completed=count, figures=f"{successes} of {count} succeeded")
    return json.loads((out / SUMMARY_FILE).read_text())


def tell_imagination(errors: list[FrameErrors]) -> None:
    """Print how near imagined pictures came to real ones; nothing if nothing moved."""
    psnr = mean_psnr_db(errors)
    if psnr is not None:
        console.print(
            f"Imagined frames against the cameras': PSNR {psnr[0]:.1f} dB; the last frame held still: {psnr[1]:.1f} dB "
            f"({len(errors)} episodes, frames in which something moves)."
        )


def _caption(task: str, result: EpisodeResult) -> str:
    return f"{task}, seed {result.seed}: {'success' if result.success else 'no success'}"


def _summary_table(summary: Mapping[str, Any], policy: Policy) -> Table:
    table = Table(show_header=False, box=None)
    low, high = summary["ci95_low"], summary["ci95_high"]
    table.add_row("task", summary["task"])
    table.add_row("schedule", describe_steps(policy.config))
    table.add_row(
        "success",
        f"{summary['success_rate']:.0%} of {summary['episodes']} episodes (95 % interval {low:.0%} to {high:.0%})",
    )
    table.add_row("progress", f"{summary['progress']:.2f}")
    if summary["imagination_error"] is not None:
        table.add_row("imagination error", f"{summary['imagination_error']:.3f} (latent spread is 1)")
    table.add_row(
        "chunk", f"{summary['chunk_ms']:.0f} ms, {summary['realtime_ratio']:.2f} of the time it takes to execute"
    )
    table.add_row("stages", ", ".join(f"{name} {value:.0f} ms" for name, value in summary["stage_ms"].items()))
    return table
