"""An evaluation: many episodes of one task, resumable, ending in one summary."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foreact.control.latency import constant
from foreact.embodiments import Embodiment
from foreact.environments.environment import Environment
from foreact.environments.registry import OWN, find, protocol_of
from foreact.errors import CheckpointError, ConfigurationError, check_seed
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult, evaluate_episode
from foreact.evaluation.statistics import wilson_interval
from foreact.evaluation.together import check_together, run_together
from foreact.evaluation.workers import WorldSettings, check_workers, run_in_processes
from foreact.files import write_whole
from foreact.folders import only_writer
from foreact.policy.controllers import ControlMode, check_mode
from foreact.policy.policy import Policy
from foreact.settings import to_plain
from foreact.simulation.disturbances import UNDISTURBED, Disturbance

FIRST_HELD_OUT_SEED = 1_000_000
"""Demonstrations are recorded from seeds far below, so no evaluated episode was ever seen in training."""
EPISODES_FILE = "episodes.jsonl"
SUMMARY_FILE = "summary.json"

RunEpisode = Callable[[Environment, int], tuple[EpisodeResult, EpisodeRecord]]
"""Runs the episode of a seed in a world that it resets."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is evaluated, and how."""

    task: str
    """Name of a task of ours, or of a world, as `foreact.environments` knows it: metaworld/drawer-open-v3."""
    num_episodes: int = 50
    """Episodes, of seeds seed, seed + 1, ..."""
    seed: int = FIRST_HELD_OUT_SEED
    """First seed; the default is far from those of any demonstration."""
    controller: ControlMode = "synchronous"
    """How the robot acts while a chunk is computed; open_loop: after its first picture the policy sees only what it
    imagined."""
    latency_ms: float = 0.0
    """How long computing a chunk is said to take; the world goes on meanwhile."""
    patience: float = 1.0
    """Multiples of the task's time limit after which an episode is cut off: robots that stand still need more."""
    execution_horizon: int | None = None
    """Actions of each chunk that are executed before the next begins; None: all."""
    disturbance: Disturbance = UNDISTURBED
    """What goes wrong on the way, drawn from each episode's seed."""
    protocol: str | None = None
    """Name of the world's protocol (`foreact.environments.protocols`); None: the first of its suite."""

    def __post_init__(self) -> None:
        suite, task = find(self.task)
        if suite.name == OWN:  # the short form and the long one are the same evaluation
            object.__setattr__(self, "task", task)
        protocol_of(suite, self.protocol)
        if self.num_episodes < 1:
            raise ConfigurationError("num_episodes", got=self.num_episodes, allowed="1 or more")
        check_seed(self.seed)
        constant(self.latency_ms / 1e3)
        if not self.patience > 0:
            raise ConfigurationError("patience", got=self.patience, allowed="more than 0")
        if self.controller == "open_loop" and self.execution_horizon is not None:
            raise ConfigurationError(
                "execution_horizon in open loop",
                got=self.execution_horizon,
                allowed="none: a policy that never looks believes whole chunks",
            )


def evaluate(
    policy: Policy,
    config: EvaluationConfig,
    folder: Path | str,
    *,
    on_record: Callable[[EpisodeResult, EpisodeRecord], None] | None = None,
    workers: int = 1,
    together: int = 1,
) -> Iterator[EpisodeResult]:
    """Run the episodes that `folder` does not hold yet, yielding each result; then write the summary.

    Asking for more episodes than an earlier call adds to them.

    Args:
        policy: Evaluated.
        config: What and how.
        folder: Gets `evaluation.json`, `episodes.jsonl` and `summary.json`.
        on_record: Told everything about each new episode, for videos; with one worker only.
        workers: Processes that episodes are spread over, one thread each; results are those of one process with one
            thread.
        together: Episodes that run at once, each simulator in a process of its own, and share this process's network:
            their chunks are computed in batches. Results differ from those of one by one by rounding.

    Raises:
        CheckpointError: `folder` holds an evaluation of other settings or of another policy.
        ConfigurationError: The policy's robot is not the one of the world, or settings do not go together.
    """
    per_frame = policy.embodiment.timing.actions_per_latent_frame
    if config.execution_horizon is not None and (
        config.execution_horizon % per_frame or not 0 < config.execution_horizon <= policy.actions_per_chunk
    ):
        raise ConfigurationError(
            "execution_horizon",
            got=config.execution_horizon,
            allowed=f"multiples of {per_frame} up to {policy.actions_per_chunk}",
        )
    if config.latency_ms and policy.embodiment.channels:
        raise ConfigurationError(
            f"latency_ms for robot {policy.embodiment.name!r}",
            got=config.latency_ms,
            allowed="0: no action is known that holds a robot of raw channels while it waits",
        )
    check_mode(policy, config.controller)
    check_together(together, workers)
    horizon = config.execution_horizon or policy.actions_per_chunk
    how = {"mode": config.controller, "execution_horizon": horizon // per_frame}
    run = partial(evaluate_episode, policy, latencies_s=constant(config.latency_ms / 1e3), **how)
    spread = None
    if together > 1:
        spread = partial(run_together, policy, together=together, latency_s=config.latency_ms / 1e3, **how)
    yield from evaluate_runs(
        run,
        config,
        Path(folder),
        evaluated={"inference": to_plain(policy.config), "policy": policy.digest()},
        robot=policy.embodiment,
        executing_ms=1e3 * horizon / policy.embodiment.timing.action_hz,
        on_record=on_record,
        workers=workers,
        spread=spread,
    )


def evaluate_runs(
    run: RunEpisode,
    config: EvaluationConfig,
    folder: Path,
    *,
    evaluated: Mapping[str, Any],
    robot: Embodiment,
    executing_ms: float,
    on_record: Callable[[EpisodeResult, EpisodeRecord], None] | None = None,
    workers: int = 1,
    spread: Callable[[WorldSettings, Sequence[int]], Iterator[tuple[int, EpisodeResult]]] | None = None,
) -> Iterator[EpisodeResult]:
    """Run the episodes that `folder` does not hold yet, as `evaluate` does, whatever drives the robot.

    Args:
        run: Runs one; controller, latency and execution horizon are its own affair, and `config` names them.
        config: Which episodes.
        folder: Gets `evaluation.json`, `episodes.jsonl` and `summary.json`.
        evaluated: Plain data that names what is evaluated, by its weights for example.
        robot: Whose actions these are; its cameras take pictures.
        executing_ms: How long the robot takes to execute what it executes of a chunk.
        on_record: Told everything about each new episode, for videos; with one worker only.
        workers: Processes that episodes are spread over; `run` is sent to them if there are several.
        spread: Runs the episodes of some seeds in a world, in place of `run`, and yields them in the seeds' order.

    Raises:
        CheckpointError: `folder` holds an evaluation of other settings or of something else.
        ConfigurationError: The robot is not the one of the world, or somebody else writes to `folder`.
    """
    check_workers(workers)
    if workers > 1:
        spread = partial(run_in_processes, run, workers=workers)
    if spread is not None and on_record is not None:
        got, cure = "episodes in several processes", "use one worker for videos"
        raise ConfigurationError("records of episodes", got=got, allowed="one worker", cure=cure)
    world = WorldSettings(
        name=config.task,
        robot=robot,
        protocol=config.protocol,
        patience=config.patience,
        disturbance=config.disturbance,
    )
    env = world.make()  # also where other processes do the work: what is wrong is said before they begin
    with contextlib.closing(env), only_writer(folder):
        _claim(folder, {**_settings(config), **evaluated})
        results = {result.seed: result for result in read_results(folder)}
        seeds = range(config.seed, config.seed + config.num_episodes)
        missing = [seed for seed in seeds if seed not in results]
        if spread is not None and missing:
            new = ((seed, result, None) for seed, result in spread(world, missing))
        else:
            new = ((seed, *run(env, seed)) for seed in missing)
        for seed in seeds:
            if seed not in results:
                _, results[seed], record = next(new)
                _append(folder, results[seed])
                if on_record and record is not None:
                    on_record(results[seed], record)
            yield results[seed]
        new.close()
        summary = summarise(config, [results[seed] for seed in seeds], executing_ms=executing_ms)
        write_whole(folder / SUMMARY_FILE, (json.dumps(summary, indent=1) + "\n").encode())


def _settings(config: EvaluationConfig) -> dict[str, Any]:
    """Return what decides an evaluation's episodes next to the policy."""
    settings = {name: value for name, value in to_plain(config).items() if name != "num_episodes"}
    # Evaluations of our own tasks are described as they were before there was anything else.
    if config.disturbance.is_none:
        del settings["disturbance"]
    if config.protocol is None:
        del settings["protocol"]
    suite, _ = find(config.task)
    if suite.name == OWN:
        return {"evaluation": settings}
    world = {"protocol": to_plain(protocol_of(suite, config.protocol)), "versions": suite.versions()}
    return {"evaluation": settings, "world": world}


def summarise(config: EvaluationConfig, results: list[EpisodeResult], *, executing_ms: float) -> dict[str, Any]:
    """Return success with its 95 % Wilson interval, progress, and what computing a chunk cost.

    Args:
        config: What was evaluated.
        results: Of all its episodes.
        executing_ms: How long the robot takes to execute what it executes of a chunk.
    """
    successes = sum(result.success for result in results)
    low, high = wilson_interval(successes, len(results))
    costs = [sum(stages.values()) for result in results for stages in result.stage_ms]
    errors = [error for result in results for error in result.imagination_error]
    done = [result.steps for result in results if result.success]
    disagreements = [value for result in results for value in result.disagreement]
    jerks = [result.seam_jerk for result in results if result.seam_jerk is not None]
    chunk_ms = float(np.median(costs))
    suite, task = find(config.task)
    stages = sorted({name for result in results for stages in result.stage_ms for name in stages})
    return {
        "task": config.task,
        "world": f"{suite.name}/{task}",
        "protocol": protocol_of(suite, config.protocol).name,
        "versions": suite.versions(),
        "episodes": len(results),
        "success_rate": successes / len(results),
        "ci95_low": low,
        "ci95_high": high,
        "progress": float(np.mean([result.progress for result in results])),
        "steps_to_success": float(np.median(done)) if done else None,
        "imagination_error": float(np.mean(errors)) if errors else None,
        "chunk_ms": chunk_ms,
        "realtime_ratio": chunk_ms / executing_ms,
        "stage_ms": {
            name: float(np.median([s.get(name, 0.0) for result in results for s in result.stage_ms])) for name in stages
        },
        "idle_share": float(np.mean([result.idle_share for result in results])),
        "late_chunks": sum(result.late_chunks for result in results),
        "fallbacks": sum(result.fallbacks for result in results),
        "disagreement": float(np.mean(disagreements)) if disagreements else None,
        "seam_jerk": float(np.median(jerks)) if jerks else None,
        "seed": config.seed,
        "controller": config.controller,
        "latency_ms": config.latency_ms,
        "disturbance": config.disturbance.describe(),
        "episodes_disturbed": sum(bool(result.disturbances) for result in results),
    }


def read_results(folder: Path) -> list[EpisodeResult]:
    """Return the episodes written so far; a last line cut off by a crash is dropped."""
    path = folder / EPISODES_FILE
    if not path.exists():
        return []
    results = []
    for line in path.read_text().splitlines():
        try:
            results.append(EpisodeResult(**json.loads(line)))
        except ValueError:
            break
    return results


def _append(folder: Path, result: EpisodeResult) -> None:
    lines = [*read_results(folder), result]
    text = "".join(json.dumps(dataclasses.asdict(line)) + "\n" for line in lines)
    write_whole(folder / EPISODES_FILE, text.encode())


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Write what this folder is about, or check that it is about this."""
    path = folder / "evaluation.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise CheckpointError(
            f"evaluation in {folder}",
            got="one of other settings or of another policy",
            cure="choose another folder",
        )
    write_whole(path, (json.dumps(settings, indent=1) + "\n").encode())
