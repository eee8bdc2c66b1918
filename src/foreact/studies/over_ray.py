"""The same jobs on a Ray cluster (`pip install ".[ray]"` in the repository), whose machines all see the store's folder.

One core for each job; a GPU, or a share of one, where the device is cuda. Locks hold across machines as far as the
shared file system carries them.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from foreact.errors import NotInstalledError
from foreact.studies.jobs import Job, JobQueue, Outcome, WorkEvent
from foreact.studies.runner import POLL_S, perform
from foreact.studies.store import Store


def run_over_ray(
    jobs: list[Job],
    store: Store,
    *,
    address: str,
    device: str = "cpu",
    gpus_per_job: float = 1.0,
    budget_s: float | None = None,
    on_event: Callable[[WorkEvent], None] = lambda event: None,
) -> Outcome:
    """Do the jobs wherever the cluster has room, in their order; of jobs under way only begin and end are told.

    Args:
        jobs: Of `jobs_of`.
        store: On a path that every machine has.
        address: Of the cluster, "auto" for the one this machine belongs to, "local" for a cluster of this machine.
        device: Where each job computes.
        gpus_per_job: Share of a GPU that Ray keeps for each, where the device is cuda.
        budget_s: Wall-clock seconds after which no further job is begun; None: all are.
        on_event: Told what happens, in this process.

    Raises:
        NotInstalledError: Ray is not installed.
    """
    ray = _ray(address)
    needs = {"num_cpus": 1, "num_gpus": gpus_per_job if device.startswith("cuda") else 0, "max_retries": 0}
    begin = ray.remote(**needs)(_perform).remote
    queue, under_way = JobQueue(jobs), {}
    until = float("inf") if budget_s is None else time.monotonic() + budget_s
    while True:
        while time.monotonic() < until and len(under_way) < _room(ray, needs) and (job := queue.next()):
            under_way[begin(job.work, store, device)] = job
            on_event(WorkEvent(job=job, state="begun"))
        if not under_way and (time.monotonic() >= until or not queue.is_waiting):
            return Outcome(failed=queue.failed, left=queue.left())
        if not under_way:
            time.sleep(POLL_S)
            continue
        for finished in ray.wait(list(under_way), timeout=POLL_S)[0]:
            event = _event(ray, finished, under_way.pop(finished))
            queue.hear(event)
            on_event(event)


def _room(ray: Any, needs: Mapping[str, int | float]) -> int:
    """Jobs that the cluster has cores and GPUs for, as it stands: machines come and go."""
    resources = ray.cluster_resources()
    cores = resources.get("CPU", 1) / needs["num_cpus"]
    gpus = resources.get("GPU", 0) / needs["num_gpus"] if needs["num_gpus"] else cores
    return max(1, int(min(cores, gpus)))


def _perform(work: Any, store: Store, device: str) -> tuple[str, int, str]:
    return perform(work, store, device, lambda *_: None)


def _event(ray: Any, finished: Any, job: Job) -> WorkEvent:
    try:
        state, done, figures = ray.get(finished)
    except ray.exceptions.RayError as error:
        state, done, figures = "failed", 0, str(error).splitlines()[0]
    return WorkEvent(job=job, state=state, done=done, figures=figures)


def _ray(address: str) -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise NotInstalledError("studies over Ray", missing=error.name, extra="ray") from error
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    return ray
