"""How fast this machine multiplies and copies: the ceilings that floors are computed with."""

import resource
import time
from collections.abc import Callable

import torch

from foreact.cost.accelerator import Accelerator, Cost

REPEATS = 5
"""Runs of which the fastest counts; one more warms up."""


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Accelerator:
    """Return the rates of a large matrix product and of a large copy, in the given precision."""
    on_cuda = device.type == "cuda"
    size = 8192 if on_cuda else 1536
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    product_s = _fastest_s(lambda: matrix @ matrix, device)
    source = torch.zeros(1 << (30 if on_cuda else 27), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy_s = _fastest_s(lambda: target.copy_(source), device)
    name = torch.cuda.get_device_name(device) if on_cuda else f"CPU, {torch.get_num_threads()} threads"
    return Accelerator(name=name, flops_per_s=2 * size**3 / product_s, bytes_per_s=2 * len(source) / copy_s)


def floor_ms(cost: Cost, ceilings: Accelerator, dtype: torch.dtype) -> float:
    """Return the least time of some work: the longer of computing and moving, milliseconds.

    Args:
        cost: Of the work; its bytes are those of bfloat16.
        ceilings: Of the machine.
        dtype: In which it is done.
    """
    moved = cost.num_bytes * dtype.itemsize / torch.bfloat16.itemsize
    return 1e3 * max(cost.flops / ceilings.flops_per_s, moved / ceilings.bytes_per_s)


def peak_bytes(device: torch.device) -> float:
    """Return the most memory that was held so far: on CUDA by torch, on the CPU by the whole process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _fastest_s(work: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(REPEATS + 1):
        _synchronize(device)
        start = time.perf_counter()
        work()
        _synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
