"""Episodes spread over processes that share the policy's weights."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
import torch.multiprocessing  # tensors go to other processes as shared memory

from foreact.embodiments import Embodiment
from foreact.environments.check import make_world
from foreact.environments.environment import Environment
from foreact.errors import ConfigurationError
from foreact.evaluation.episodes import EpisodeResult
from foreact.simulation.disturbances import Disturbance


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """The world that each process builds for itself."""

    name: str
    robot: Embodiment
    protocol: str | None
    patience: float
    disturbance: Disturbance

    def make(self) -> Environment:
        """Build it.

        Raises:
            ConfigurationError: The robot cannot act in it.
        """
        return make_world(
            self.name, self.robot, protocol=self.protocol, patience=self.patience, disturbance=self.disturbance
        )


def check_workers(workers: int) -> None:
    """Refuse a number of processes that cannot be."""
    if workers < 1:
        raise ConfigurationError("workers", got=workers, allowed="1 or more")


def run_in_processes(
    run: Any, world: WorldSettings, seeds: Sequence[int], workers: int
) -> Iterator[tuple[int, EpisodeResult]]:
    """Run the episodes of some seeds in several processes, yielding seed and result in the order of the seeds.

    Each process computes with one thread and has a world of its own; on the CPU they share the policy's weights. An
    episode is a function of its seed, so the results are those of one process with one thread.

    Args:
        run: Called with an environment and a seed; returns (result, record). It is sent to the processes.
        world: What each builds.
        seeds: Of the episodes.
        workers: How many processes.
    """
    context = torch.multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(
        min(workers, len(seeds)), mp_context=context, initializer=_begin, initargs=(run, world)
    )
    try:
        yield from zip(seeds, executor.map(_episode, seeds), strict=True)
    finally:
        executor.shutdown(cancel_futures=True)


_mine: dict[str, Any] = {}
"""What this process runs, and where; set once when it begins."""


def _begin(run: Any, world: WorldSettings) -> None:
    torch.set_num_threads(1)
    _mine.update(run=run, env=world.make())


def _episode(seed: int) -> EpisodeResult:
    result, _ = _mine["run"](_mine["env"], seed)
    return result
