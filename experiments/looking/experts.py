"""How often do the scripted experts succeed where things go wrong?

python experiments/looking/experts.py --disturbance strong --episodes 200
"""

from argparse import ArgumentParser

import numpy as np

from foreact.evaluation.demonstrations import MISS_PROBABILITY
from foreact.evaluation.statistics import wilson_interval
from foreact.simulation.demonstrations import rollout_expert
from foreact.simulation.disturbances import Disturbance
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.tasks import TASKS


def main() -> None:
    """Print one line a task."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--disturbance", default="strong")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5000)
    given = parser.parse_args()
    for task in given.tasks:
        env = BimanualEnv(task, disturbance=Disturbance(name=given.disturbance))
        seeds = range(given.seed, given.seed + given.episodes)
        runs = [rollout_expert(task, seed, env=env, miss_probability=MISS_PROBABILITY) for seed in seeds]
        done = sum(run.success for run in runs)
        low, high = wilson_interval(done, len(runs))
        failed = [run.seed for run in runs if not run.success]
        print(
            f"{task}: {done} of {len(runs)} ({low:.0%} to {high:.0%}), "
            f"{np.mean([len(run.events) for run in runs]):.1f} events and "
            f"{np.mean([run.num_plans for run in runs]):.1f} plans an episode; failed: {failed or 'none'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
