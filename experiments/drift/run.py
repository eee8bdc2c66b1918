"""Does imagination drift away from what happens? Its error over time, with open and with closed loop.

    python experiments/drift/run.py --policy tiny --workers 2

Every episode lasts 8 s of acting, success or not. Episodes already in `--out` are kept; only what is missing is run.
Writes result.json, figure.png and the tables of README.md; `--workers 0` does only that.
"""

import argparse
import json
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from episodes import LATENCIES_MS, is_there, load_policy, made_with, path_of, run_one
from figures import Kept, analyse
from telling import draw, tell, write_readme

from foreact.commands.progress import console, progress_bar
from foreact.evaluation.suite import FIRST_HELD_OUT_SEED
from foreact.files import write_whole
from foreact.policy.controllers import ControlMode, check_mode

TASKS = ("lift_cube", "transfer_cube")
LOOK_BACK_S = 900.0
"""Of the estimate of the time left: long against an episode."""
Job = tuple[str, ControlMode, int]
"""Task, controller and seed."""


def run_all(missing: list[Job], total: int, given: argparse.Namespace) -> None:
    """Run episodes, some at a time, each process with one thread."""
    context = multiprocessing.get_context("spawn")  # started with one thread and EGL, which a fork would not be
    with progress_bar() as bar, ProcessPoolExecutor(given.workers, mp_context=context) as pool:
        bar.speed_estimate_period = LOOK_BACK_S
        shown = bar.add_task("episodes", total=total, completed=total - len(missing), figures="")
        pending = [pool.submit(run_one, given.policy, given.out, *job) for job in missing]
        try:
            for done in as_completed(pending):
                done.result()
                bar.advance(shown)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # those in progress end


def gather(seeds: range, wanted: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Return what the episodes say of each task whose episodes are all there."""
    tasks = {}
    for task in given.tasks:
        paths: dict[ControlMode, list[Path]] = {
            mode: [path_of(given.out, task, mode, seed) for seed in seeds] for mode in LATENCIES_MS
        }
        if all(is_there(path, wanted) for kept in paths.values() for path in kept):
            episodes: dict[ControlMode, list[Kept]] = {
                mode: [json.loads(path.read_text()) for path in kept] for mode, kept in paths.items()
            }
            tasks[task] = analyse(episodes)
    return {"policy": given.policy, "made_with": wanted, "episodes": len(seeds), "tasks": tasks}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny", help="a shipped one or a folder; trained for grounded control")
    parser.add_argument("--out", type=Path, default=Path("outputs/drift"), help="gets every episode")
    parser.add_argument("--report", type=Path, default=Path(__file__).parent, help="gets the tables and the figure")
    parser.add_argument("--episodes", type=int, default=30, help="of each task and controller")
    parser.add_argument("--workers", type=int, default=1, help="episodes at a time, one thread each; 0: run nothing")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("MUJOCO_GL", "egl")
    policy = load_policy(given.policy)
    wanted = made_with(policy)
    for mode in LATENCIES_MS:
        check_mode(policy, mode)
    seeds = range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + given.episodes)
    jobs: list[Job] = [(task, mode, seed) for seed in seeds for task in given.tasks for mode in LATENCIES_MS]
    missing = [job for job in jobs if not is_there(path_of(given.out, *job), wanted)]
    if given.workers and missing:
        run_all(missing, len(jobs), given)
    result = gather(seeds, wanted, given)
    if not result["tasks"]:
        sys.exit(f"no task has all its {given.episodes} episodes in {given.out}")
    given.report.mkdir(parents=True, exist_ok=True)
    write_whole(given.report / "result.json", (json.dumps(result, indent=1) + "\n").encode())
    draw(given.report / "figure.png", result["tasks"])
    write_readme(given.report / "README.md", tell(result))
    console.print(f"Tables and figure are in {given.report}.")


if __name__ == "__main__":
    main()
