"""`foreact evaluate` and `foreact demo`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from foreact.commands.progress import console, progress_bar, use_device
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult
from foreact.evaluation.figures import draw_actions, draw_imagination
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
    policy = _load(policy_name, schedule, changes, device, threads, compile=compile)

    errors: list[FrameErrors] = []

    def film(result: EpisodeResult, record: EpisodeRecord) -> None:
        if result.seed < seed + videos:
            write_video(out / f"episode-{result.seed}.mp4", policy, record, _caption(task, result))
            errors.append(frame_errors(policy, record))

    summary = _run(policy, config, out, film)
    console.print(_summary_table(summary, policy))
    _tell_imagination(errors)
    console.print(f"Everything is in [bold]{out}[/].")


def demo(
    policy_name: str, task: str, episodes: int, seed: int, schedule: str | None, out: Path, threads: int | None
) -> None:
    """See `foreact.cli.demo`."""
    policy = _load(policy_name, schedule, {}, "cpu", threads)
    config = EvaluationConfig(task=task, num_episodes=episodes, seed=seed)
    _introduce(policy, config)
    written: list[Path] = []
    errors: list[FrameErrors] = []

    def show(result: EpisodeResult, record: EpisodeRecord) -> None:
        name = f"{task}-{result.seed}"
        paths = [out / f"{name}.mp4", out / f"{name}-actions.png", out / f"{name}-imagination.png"]
        write_video(paths[0], policy, record, _caption(task, result))
        draw_actions(paths[1], policy, record)
        errors.append(frame_errors(policy, record))
        draw_imagination(paths[2], errors[-1])
        written.extend(paths)

    for stale in ("episodes.jsonl", "evaluation.json", SUMMARY_FILE):
        (out / stale).unlink(missing_ok=True)
    summary = _run(policy, config, out, show)
    for line in (out / "episodes.jsonl").read_text().splitlines():
        console.print("  " + _tell(json.loads(line), policy))
    _tell_imagination(errors)
    executing_ms = 1e3 * policy.actions_per_chunk / policy.embodiment.timing.action_hz
    console.print(
        f"Computing a chunk took {summary['chunk_ms']:.0f} ms, executing it takes {executing_ms:.0f} ms: "
        f"{'faster' if summary['realtime_ratio'] < 1 else 'slower'} than real time."
    )
    console.print("Look at:")
    for path in written:
        console.print(f"  [bold]{path}[/]")


def _load(
    name: str,
    schedule: str | None,
    changes: Mapping[str, Any],
    device: str,
    threads: int | None,
    *,
    compile: bool = False,
) -> Policy:
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


def _introduce(policy: Policy, config: EvaluationConfig) -> None:
    timing, settings = policy.embodiment.timing, policy.config
    parameters = sum(p.numel() for p in policy.networks.model.parameters()) / 1e6
    console.print(
        f"{policy.embodiment.description}\n"
        f"Task: {config.task}, {config.num_episodes} episodes it has never seen. "
        f"The policy ({parameters:.1f} M weights) imagines "
        f"{settings.latent_frames_per_chunk * timing.vae_factor} camera frames, decodes the "
        f"{policy.actions_per_chunk} actions that lead there, executes them at {timing.action_hz:g} Hz, "
        "and replaces what it imagined by what it saw.\n"
        f"A chunk takes {describe_steps(settings)}."
    )


def _tell(result: Mapping[str, Any], policy: Policy) -> str:
    seconds = result["steps"] / policy.embodiment.timing.action_hz
    if result["success"]:
        return f"episode {result['seed']}: done after {seconds:.1f} s, in {len(result['executed'])} chunks."
    reached = f"{result['progress']:.0%} of the way"
    return f"episode {result['seed']}: not done after {seconds:.1f} s; it got {reached} and was at {result['stage']!r}."


def _tell_imagination(errors: list[FrameErrors]) -> None:
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
