"""`foreact evaluate`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from foreact.commands.datasets import Data, DataOptions
from foreact.commands.disturbing import DisturbanceOptions, Disturbing
from foreact.commands.evaluate_data import check_compatible, evaluate_data
from foreact.commands.evaluate_summary import summary_table, tell_imagination
from foreact.commands.loading import load_policy
from foreact.commands.options import Denoising, DenoisingOptions, Machine, MachineOptions, PolicyName, named
from foreact.commands.progress import bold, console, progress_bar
from foreact.commands.worlds import WORLD_NAMES, name_world
from foreact.environments.protocols import PROTOCOLS
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult
from foreact.evaluation.imagination import FrameErrors, frame_errors
from foreact.evaluation.pictures import write_video
from foreact.evaluation.suite import FIRST_HELD_OUT_SEED, SUMMARY_FILE, EvaluationConfig
from foreact.evaluation.suite import evaluate as run_suite
from foreact.policy.controllers import ControlMode
from foreact.policy.policy import Policy
from foreact.simulation.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure a policy: how many episodes of a task succeed, and in what time.

    The success rate comes with a 95 % Wilson interval, next to it progress, imagination error and the time of each
    stage. Repeat the command after an interruption: finished episodes are kept.

    Example: foreact evaluate --policy tiny --task reach_cube --episodes 50 --out outputs/reach

    In another simulator: foreact evaluate --policy runs/mw/policy --env metaworld/drawer-open-v3 --out outputs/drawer

    While somebody moves the cube: foreact evaluate --task reach_cube --disturbance nudge --out outputs/nudged

    Without a simulator, against recorded episodes: foreact evaluate --policy runs/mine/policy --data data/my_task --out
    outputs/mine. It gives the error of every joint, in the robot's units, next to that of repeating the last action.
    """

    task: Annotated[str | None, named(TASKS, "TASK")] = None
    """What the robot is to do: one of our own tasks, or with --env one of its tasks."""
    out: Path
    """Gets summary.json, episodes.jsonl and the videos; with --data results.json."""
    env: Annotated[str | None, named(WORLD_NAMES)] = None
    """The world by name, where it is not our own; `docs/benchmarks.md` lists them."""
    protocol: Annotated[str | None, named(PROTOCOLS)] = None
    """How episodes are run and seen there; by default the first of the world's own."""
    data: tuple[Path, ...] = ()
    """Instead of a world: LeRobot datasets of the policy's robot, encoded by `foreact encode`."""
    held_out: int = 5
    """With --data: how many of the last episodes of each dataset are compared; the policy must not have seen them."""
    policy: PolicyName = "tiny"
    """Name of a shipped policy, or a folder."""
    episodes: int = 50
    """Number of episodes."""
    seed: int = FIRST_HELD_OUT_SEED
    """Of the first; demonstrations use seeds far below."""
    workers: int = 1
    """Processes that share the episodes, one thread each; results are those of one process with `--threads 1`."""
    together: int = 1
    """Episodes that run at once, each simulator a process, and share one network, which computes their chunks in
    batches: for GPUs, or where the network takes longer than the simulator. Results differ by rounding."""
    videos: int = 0
    """For how many episodes to write an mp4 of what was seen next to what was imagined."""
    controller: ControlMode = "synchronous"
    """What the robot does while a chunk is computed.

    - synchronous: it stands still.
    - naive: it goes on, and the next chunk rests on what had been imagined.
    - grounded: it goes on, and where that leads is imagined anew from what was seen last.
    - prefixed: as grounded, and the chunk continues the actions executed meanwhile.
    - open_loop: it never looks.
    Grounded and prefixed need a policy trained for it.
    """
    latency_ms: float = 0.0
    """How long a chunk is said to take to compute: the simulated world goes on meanwhile."""
    execution_horizon: int | None = None
    """Actions of a chunk executed before the next is predicted; all by default."""
    disturbing: Disturbing = DisturbanceOptions()
    reading: Data = DataOptions()
    denoising: Denoising = DenoisingOptions()
    machine: Machine = MachineOptions()
    compile: bool = False
    """Compile the transformer's layers first, which takes minutes and pays on CUDA."""


def run(settings: Settings) -> None:
    """Compare with recorded episodes, or run the simulated ones that are missing, and print the summary of all."""
    check_compatible(settings)
    if settings.data:
        policy = load_policy(settings.policy, settings.denoising, settings.machine, compile=settings.compile)
        evaluate_data(policy, settings.policy, settings.data, settings.reading, settings.held_out, settings.out)
    else:
        _simulate(settings)


def _simulate(settings: Settings) -> None:
    config = EvaluationConfig(
        task=name_world(settings.env, settings.task),
        protocol=settings.protocol,
        num_episodes=settings.episodes,
        seed=settings.seed,
        controller=settings.controller,
        latency_ms=settings.latency_ms,
        execution_horizon=settings.execution_horizon,
        disturbance=settings.disturbing.disturbance_of_episodes(),
    )
    policy = load_policy(settings.policy, settings.denoising, settings.machine, compile=settings.compile)
    errors: list[FrameErrors] = []

    def film(result: EpisodeResult, record: EpisodeRecord) -> None:
        if result.seed < settings.seed + settings.videos:
            caption = f"{config.task}, seed {result.seed}: {'success' if result.success else 'failed'}"
            write_video(settings.out / f"episode-{result.seed}.mp4", policy, record, caption)
            errors.append(frame_errors(policy, record))

    how = {"workers": settings.workers, "together": settings.together, "on_record": film if settings.videos else None}
    summary = _run(policy, config, settings.out, **how)
    console.print(summary_table(summary, policy))
    tell_imagination(errors)
    console.print(f"Everything is in {bold(settings.out)}.")


def _run(policy: Policy, config: EvaluationConfig, out: Path, **how: Any) -> dict[str, Any]:
    successes = 0
    with progress_bar() as bar:
        shown = bar.add_task(config.task, total=config.num_episodes, figures="")
        for count, result in enumerate(run_suite(policy, config, out, **how), 1):
            successes += result.success
            bar.update(shown, completed=count, figures=f"{successes} of {count} succeeded")
    return json.loads((out / SUMMARY_FILE).read_text())
