"""Several processes that train together, each one rank; `torchrun` starts them. One process is the case of one rank."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from foreact.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How the processes that `torchrun` has started divide the work. Changes memory and speed, not what is learned."""

    shard: int = 0
    """Processes that hold one copy of the weights, the average and the moments between them, a part each (FSDP2). If
    there are more, each group of so many holds a copy. 0: all of them together."""

    def __post_init__(self) -> None:
        if self.shard < 0:
            raise ConfigurationError("parallel.shard", got=self.shard, allowed="0 (all processes) or more")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of one training, as one of them sees them."""

    rank: int = 0
    """Of this process."""
    world: int = 1
    """How many there are."""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes logs and policies."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all processes; each has to ask for it."""
        if self.world > 1:
            dist.all_reduce(value)
        return value

    def any(self, answer: bool) -> bool:
        """Return whether any process says yes; each has to answer."""
        return answer if self.world == 1 else bool(self.sum(torch.tensor(float(answer))) > 0)

    def wait(self) -> None:
        """Return when all processes have come this far."""
        if self.world > 1:
            dist.barrier()

    def mesh(self, config: ParallelConfig, device: torch.device) -> DeviceMesh:
        """Return the processes arranged as (groups, processes in a group), or in one line if there is one group.

        Raises:
            ConfigurationError: They do not divide into groups of `config.shard`.
        """
        shard = config.shard or self.world
        if self.world % shard:
            raise ConfigurationError(
                "parallel.shard", got=shard, allowed=f"a divisor of {self.world}, the number of processes"
            )
        if shard == self.world:
            return init_device_mesh(device.type, (shard,), mesh_dim_names=("shard",))
        return init_device_mesh(device.type, (self.world // shard, shard), mesh_dim_names=("replicate", "shard"))


def world_size() -> int:
    """Return how many processes `torchrun`, or another launcher that sets WORLD_SIZE, has started."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def process_number() -> int:
    """Return which of the processes that `torchrun` has started this is, from 0; 0 if it is the only one."""
    return 0 if world_size() == 1 else int(os.environ.get("RANK") or 0)


def first_process() -> bool:
    """Return whether this is the only process, or the first of those that `torchrun` has started."""
    return process_number() == 0


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes that `torchrun` has started, and part from them at the end.

    A group that the caller has made already is used, and left as it is.

    Args:
        device: Where this process computes: of CUDA devices each process needs one of its own.
    """
    if dist.is_available() and dist.is_initialized():
        yield Ranks(rank=dist.get_rank(), world=dist.get_world_size())
        return
    if world_size() == 1:
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(rank=dist.get_rank(), world=dist.get_world_size())
    finally:
        dist.destroy_process_group()


def check_alone(what: str) -> None:
    """Refuse to be one of several processes: each would do the whole work, and all write one folder.

    Args:
        what: Names the work, for the message.

    Raises:
        ConfigurationError: More than one process was started.
    """
    if world_size() > 1:
        raise ConfigurationError(
            f"processes of {what}",
            got=f"{world_size()} (WORLD_SIZE)",
            allowed="1: this is not spread over processes",
            cure="start it without torchrun, or with --nproc-per-node 1",
        )
