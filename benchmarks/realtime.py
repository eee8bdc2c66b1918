"""Real time: does the control loop keep 50 Hz while the policy computes, and what if the policy hangs?

The simulated robot is driven for a minute by the machine's clock, past the episode's end, the policy in another thread.
Then again for a shorter time, in which one turn takes 3 s longer than the others: the robot must be held meanwhile, and
go on without executing anything twice. Exits with 1 if 1 % of the commands come late, a deadline is missed, or what was
executed is not what was decided.

    python benchmarks/realtime.py [--policy tiny] [--seconds 60] [--not-urgent] [--out benchmarks/results]
"""

import argparse
import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import foreact
from foreact.commands.demo import best_mode, spare_cores
from foreact.control.clock import RealClock
from foreact.control.config import ControlConfig
from foreact.control.report import DriveReport
from foreact.control.worker import ThreadWorker
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult
from foreact.evaluation.realtime import (
    RealtimeFigures,
    real_time_priority,
    realtime_config,
    rehearse,
    run_in_real_time,
)
from foreact.files import write_whole
from foreact.policy.schedules import describe_steps
from foreact.simulation.environment import BimanualEnv

MOST_LATE = 0.01
HANG_S = 3.0
HANG_TURN = 5
"""Calls before the one that hangs."""
HANG_SECONDS = 15
SEED = 1_000_000


class HangingWorker(ThreadWorker):
    """A thread in which one call takes much longer than the others."""

    def __init__(self) -> None:
        super().__init__(RealClock())
        self.num_calls = 0

    def submit(self, call: Callable[[], Any]) -> None:
        """Hand the call to the thread, or one that hangs first."""
        super().submit(partial(_hang, call) if self.num_calls == HANG_TURN else call)
        self.num_calls += 1


def _hang(call: Callable[[], Any]) -> Any:
    time.sleep(HANG_S)
    return call()


def decided(record: EpisodeRecord) -> np.ndarray:
    """Return what should have been executed: of every policy tick, the action of the newest chunk there was by then."""
    expected = np.full_like(record.executed, np.nan)
    for placed in record.chunks:
        start = max(placed.begin_tick + placed.num_prefix, placed.arrival_tick)
        end = min(placed.begin_tick + len(placed.chunk.actions), len(expected))
        expected[start:end] = placed.chunk.actions[start - placed.begin_tick : max(start, end) - placed.begin_tick]
    return expected


def longest_run(commands: np.ndarray) -> int:
    """Return for how many ticks on end the same command was given."""
    changes = np.flatnonzero(np.any(np.diff(commands, axis=0) != 0, axis=1))
    return int(np.diff(np.concatenate([[-1], changes, [len(commands) - 1]])).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--task", default="lift_cube")
    parser.add_argument("--controller", default=None, help="by default as in foreact demo")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int, default=None, help="of the policy; by default all cores but one")
    parser.add_argument("--not-urgent", action="store_true", help="no real-time priority for the control loop")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    threads = given.threads or spare_cores()
    torch.set_num_threads(threads)
    policy = foreact.load(given.policy)
    mode = given.controller or best_mode(policy)
    env = BimanualEnv(given.task, cameras=policy.embodiment.cameras)
    env.reset(seed=SEED)
    config = realtime_config(policy, rehearse(policy, env, mode))
    with real_time_priority() as granted:
        urgent = granted and not given.not_urgent
    drive = partial(run_in_real_time, policy, env, SEED, mode=mode, config=config, urgent=urgent)
    result = {
        "policy": given.policy,
        "steps": describe_steps(policy.config),
        "task": given.task,
        "controller": mode,
        "threads": threads,
        "urgent": urgent,
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.processor() or platform.machine(),
        "load_before": os.getloadavg()[0],
    }
    result["steady"], failures = steady(drive, config, given.seconds)
    result["hang"], more = hang(drive, config)
    result["load_after"] = os.getloadavg()[0]
    env.close()
    write_whole(given.out / "realtime.json", (json.dumps(result, indent=1) + "\n").encode())
    tell(result)
    if failures + more:
        raise SystemExit("; ".join(failures + more))


def steady(drive: Callable, config: ControlConfig, seconds: float) -> tuple[dict, list[str]]:
    """Drive on and on; return figures, and what is wrong with them."""
    episode, record, report = drive(duration_s=seconds)
    figures = figures_of(episode, report, config)
    failures = [] if figures["late_share"] < MOST_LATE else [f"{figures['late_share']:.1%} of the commands came late"]
    failures += [f"{report.num_missed_ticks} deadlines missed"] if report.num_missed_ticks else []
    failures += [] if np.array_equal(decided(record), record.executed) else ["something else was executed than decided"]
    return figures, failures


def figures_of(episode: EpisodeResult, report: DriveReport, config: ControlConfig) -> dict:
    return dataclasses.asdict(RealtimeFigures.of(episode, report, config)) | {"late_share": report.late_share}


def hang(drive: Callable, config: ControlConfig) -> tuple[dict, list[str]]:
    """Drive while a turn hangs; return figures, and what is wrong with them."""
    episode, record, report = drive(duration_s=HANG_SECONDS, worker=HangingWorker())
    gaps = np.diff(report.executed_wall_ticks) - 1
    longest, resumed = int(gaps.max()), len(gaps) - int(gaps.argmax())
    held = longest_run(np.array(record.commands)) - 1  # the last action's own tick is not counted
    checks = {
        "held while nothing came": 0 < longest <= held + report.num_missed_ticks,
        "went on afterwards": resumed > 0 and report.reason is None,
        "every tick executed at most one action": bool((np.diff(report.executed_wall_ticks) > 0).all()),
        "every action was executed once, as decided": np.array_equal(decided(record), record.executed),
        "no deadline missed": report.num_missed_ticks == 0,
    }
    figures = {
        **figures_of(episode, report, config),
        "hang_s": HANG_S,
        "held_s": longest * config.tick_s,
        "actions_after": resumed,
        "checks": checks,
    }
    return figures, [f"hang: not so: {name}" for name, passed in checks.items() if not passed]


def tell(result: dict) -> None:
    print(
        f"{result['policy']}, {result['task']}, {result['controller']}, {result['threads']} threads of "
        f"{result['cores']} cores, load {result['load_before']:.1f} to {result['load_after']:.1f}, "
        f"control loop {'with' if result['urgent'] else 'without'} real-time priority"
    )
    for name in ("steady", "hang"):
        figures = result[name]
        median_ms, slow_ms = figures["delay_ms"] or (float("nan"), float("nan"))
        print(
            f"{name}: {figures['duration_s']:.0f} s, {figures['num_ticks']} ticks\n"
            f"  commands more than 5 ms late: {figures['num_late_ticks']} ({figures['late_share']:.2%}), worst "
            f"{figures['worst_lateness_ms']:.1f} ms; deadlines missed: {figures['num_missed_ticks']}\n"
            f"  idle {figures['idle_s']:.2f} s ({figures['idle_share']:.1%}); "
            f"{figures['num_chunks']} chunks, {figures['num_late_chunks']} late, "
            f"computed in {median_ms:.0f} ms (95 % within {slow_ms:.0f} ms)"
        )
    held_s, actions = result["hang"]["held_s"], result["hang"]["actions_after"]
    print(f"a turn hung for {HANG_S:g} s: the robot was held for {held_s:.2f} s, then executed {actions} actions")
    for name, passed in result["hang"]["checks"].items():
        print(f"  {'yes' if passed else 'NO '}  {name}")


if __name__ == "__main__":
    main()
