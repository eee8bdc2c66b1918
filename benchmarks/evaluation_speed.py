"""Episodes an hour: one by one, spread over workers, and several together in batches.

    python benchmarks/evaluation_speed.py [--policy tiny] [--world lift_cube] [--episodes 8] [--workers 2]
        [--together 8]

The same seeds are run in every way, and successes and lengths are compared with those of one by one. Starting the
processes counts. Processor time is that of all processes.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import torch

import foreact
from foreact.evaluation.suite import EvaluationConfig, evaluate


def processor_s() -> float:
    """Return the processor time of this process and of those that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(policy: foreact.Policy, config: EvaluationConfig, **how: int) -> dict:
    """Run all episodes in one way; return its times and what came out."""
    with tempfile.TemporaryDirectory() as folder:
        start_s, before_s = time.perf_counter(), processor_s()
        results = list(evaluate(policy, config, Path(folder) / "episodes", **how))
        wall_s, spent_s = time.perf_counter() - start_s, processor_s() - before_s
    return {
        "wall_s": wall_s,
        "processor_s": spent_s,
        "episodes_an_hour": 3600 * len(results) / wall_s,
        "outcomes": [(each.success, each.steps) for each in results],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--world", default="lift_cube")
    parser.add_argument("--episodes", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--together", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    policy = foreact.load(given.policy, device=given.device)
    config = EvaluationConfig(task=given.world, num_episodes=given.episodes)
    ways = {"one by one": {}, "workers": {"workers": given.workers}, "together": {"together": given.together}}
    measured = {name: measure(policy, config, **how) for name, how in ways.items()}
    base = measured["one by one"]
    for result in measured.values():
        result["same_outcomes"] = result["outcomes"] == base["outcomes"]
        result["times_as_many_an_hour"] = base["wall_s"] / result["wall_s"]
        result["share_of_processor_time"] = result["processor_s"] / base["processor_s"]
    print(json.dumps({**vars(given), **measured}, indent=1))


if __name__ == "__main__":
    main()
