"""What does acting while thinking cost, and what does it save? Four controllers, five latencies, three tasks.

    python experiments/asynchrony/run.py --policy tiny --workers 2

Episodes already in `--out` are kept; only what is missing is run, and stopping loses no more than the episodes in
progress. Cells that are the same computation are run once. Writes result.json, figure.png and the tables of README.md
from every cell that is complete, those of earlier calls too; `--workers 0` does only that.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cells import ALL_CELLS, CONTROLLERS, LATENCIES_MS, TASKS, Cell, episodes_in, with_short_chunks
from figures import Results, compare, judge, measure, pair, same_seeds, subtract
from telling import draw, tell, write_readme

import foreact
from foreact.commands.progress import console, progress_bar
from foreact.evaluation.suite import evaluate, read_results
from foreact.files import write_whole
from foreact.policy.controllers import check_mode
from foreact.policy.policy import Policy

POLL_S = 1.0
LOOK_BACK_S = 900.0
"""Of the estimate of the time left: long against an episode."""


def run_cell(cell: Cell, policy_name: str, out: Path, num_episodes: int) -> None:
    """Run what is missing of one cell; stop after an episode if whoever asked for it is gone."""
    import torch

    torch.set_num_threads(1)
    policy = with_short_chunks(foreact.load(policy_name))
    asker = multiprocessing.parent_process()
    for _ in evaluate(policy, cell.config(num_episodes), out / cell.name):
        if asker is not None and not asker.is_alive():
            return


def run_all(cells: list[Cell], given: argparse.Namespace) -> None:
    """Run cells, each in a process of its own, some at a time."""
    context = multiprocessing.get_context("spawn")  # started with one thread and EGL, which a fork would not be
    waiting, running = list(cells), dict[Cell, BaseProcess]()

    def num_done() -> int:
        return sum(min(given.episodes, episodes_in(given.out / cell.name)) for cell in cells)

    with progress_bar() as bar:
        bar.speed_estimate_period = LOOK_BACK_S
        shown = bar.add_task("episodes", total=len(cells) * given.episodes, completed=num_done(), figures="")
        try:
            while waiting or running:
                while waiting and len(running) < given.workers:
                    cell = waiting.pop(0)
                    process = context.Process(
                        target=run_cell, args=(cell, given.policy, given.out, given.episodes), daemon=True
                    )
                    process.start()
                    running[cell] = process
                time.sleep(POLL_S)
                bar.update(shown, completed=num_done(), figures=", ".join(cell.name for cell in running))
                for cell in [cell for cell, process in running.items() if process.exitcode is not None]:
                    _finish(cell, running.pop(cell), given)
        finally:
            for process in running.values():
                process.terminate()


def _finish(cell: Cell, process: BaseProcess, given: argparse.Namespace) -> None:
    if process.exitcode:
        sys.exit(f"{cell.name} failed (exit status {process.exitcode}); what was finished is kept in {given.out}")
    results = read_results(given.out / cell.name)
    console.print(f"{cell.name}: {sum(r.success for r in results)} of {len(results)} succeeded")


def gather(policy: Policy, given: argparse.Namespace) -> dict[str, Any]:
    """Return what all complete cells say."""
    hz = policy.embodiment.timing.action_hz
    found: dict[Cell, Results] = {}
    for cell in ALL_CELLS:
        folder = given.out / cell.computed_as.name
        if episodes_in(folder) >= given.episodes:
            found[cell] = {r.seed: r for r in read_results(folder)[: given.episodes]}
    result: dict[str, Any] = {"policy": given.policy, "weights": policy.digest(), "cells": [], "comparisons": []}
    for cell, results in found.items():
        what = {"task": cell.task, "latency_ms": cell.latency_ms, "controller": cell.controller}
        result["cells"].append(what | {"computed_as": cell.computed_as.controller} | measure(results, hz))
    return result | _compare_all(found, hz) | {"grounded_less_naive": _grounded_less_naive(found)}


def _grounded_less_naive(found: dict[Cell, Results]) -> list[dict[str, Any]]:
    rows = []
    for latency_ms in sorted(LATENCIES_MS):
        pairs = {}
        for task in TASKS:
            grounded, naive = (
                Cell(task=task, controller=controller, latency_ms=latency_ms) for controller in ("grounded", "naive")
            )
            if grounded.computed_as != naive.computed_as and grounded in found and naive in found:
                pairs[task] = same_seeds(found[grounded], found[naive])
        if len(pairs) == len(TASKS):
            pairs["all tasks"] = [one for task in TASKS for one in pairs[task]]
        rows += [{"task": task, "latency_ms": latency_ms} | subtract(both) for task, both in pairs.items()]
    return rows


def _compare_all(found: dict[Cell, Results], action_hz: float) -> dict[str, Any]:
    """Return comparisons with the synchronous controller, by task and of all together, and what is claimed."""
    comparisons, claims = [], {}
    for latency_ms in sorted(LATENCIES_MS):
        for controller in CONTROLLERS[1:]:
            pairs = {}
            for task in TASKS:
                cell = Cell(task=task, controller=controller, latency_ms=latency_ms)
                other = Cell(task=task, controller="synchronous", latency_ms=latency_ms)
                if cell.computed_as != other.computed_as and cell in found and other in found:
                    pairs[task] = pair(cell, found[cell], found[other], action_hz)
            if len(pairs) == len(TASKS):
                pairs["all tasks"] = [one for task in TASKS for one in pairs[task]]
            for task, both in pairs.items():
                compared = compare(both)
                comparisons.append({"task": task, "latency_ms": latency_ms, "controller": controller} | compared)
                if (latency_ms, controller) == (320, "grounded"):
                    claims[task] = judge(compared)
    return {"comparisons": comparisons, "claims": claims}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny", help="a shipped one or a folder; trained for grounded control")
    parser.add_argument("--out", type=Path, default=Path("outputs/asynchrony"), help="gets every episode")
    parser.add_argument("--report", type=Path, default=Path(__file__).parent, help="gets the tables and the figure")
    parser.add_argument("--episodes", type=int, default=50, help="of each cell")
    parser.add_argument("--workers", type=int, default=1, help="cells at a time, one thread each; 0: run nothing")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS, help="run only these")
    parser.add_argument("--latencies", nargs="+", type=int, default=LATENCIES_MS, choices=LATENCIES_MS)
    parser.add_argument("--controllers", nargs="+", default=CONTROLLERS, choices=CONTROLLERS)
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("MUJOCO_GL", "egl")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    policy = with_short_chunks(foreact.load(given.policy))
    for controller in given.controllers:
        check_mode(policy, controller)
    asked = [
        cell.computed_as
        for cell in ALL_CELLS
        if cell.task in given.tasks and cell.latency_ms in given.latencies and cell.controller in given.controllers
    ]
    if given.workers:
        run_all(list(dict.fromkeys(asked)), given)
    result = gather(policy, given)
    if not result["cells"]:
        sys.exit(f"no cell of {given.episodes} episodes is complete in {given.out}")
    given.report.mkdir(parents=True, exist_ok=True)
    write_whole(given.report / "result.json", (json.dumps(result, indent=1) + "\n").encode())
    draw(given.report / "figure.png", result["cells"])
    write_readme(given.report / "README.md", tell(result))
    console.print(f"Tables and figure are in {given.report}.")


if __name__ == "__main__":
    main()
