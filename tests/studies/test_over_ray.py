import sys
from types import SimpleNamespace

import pytest

from foreact.errors import NotInstalledError
from foreact.studies.jobs import WorkEvent, jobs_of
from foreact.studies.over_ray import run_over_ray


class FakeRay:
    """Ray's calls as they are used, in this process: a task is computed when it is waited for."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self, lost: str = "", **resources: float) -> None:
        self.asked: list[dict] = []
        self.lost = lost
        self.resources = {"CPU": 2.0} | resources

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, **needs):
        self.asked.append(needs)
        return lambda function: SimpleNamespace(remote=lambda *given: _Task(function, given))

    def wait(self, tasks: list, timeout: float) -> tuple[list, list]:
        return tasks[:1], tasks[1:]

    def get(self, task: "_Task"):
        if task.given[0].name == self.lost:
            raise RuntimeError("the machine is gone\nand so on")
        return task.function(*task.given)


class _Task:
    def __init__(self, function, given):
        self.function, self.given = function, given


def test_jobs_are_done_in_order_and_a_lost_machine_stops_no_other(store, counting, monkeypatch) -> None:
    ray = FakeRay(lost="b")
    monkeypatch.setitem(sys.modules, "ray", ray)
    shared = counting("shared")
    wanted = [counting(name, first=(shared,)) for name in "abc"]
    events: list[WorkEvent] = []
    outcome = run_over_ray(jobs_of(wanted, store), store, address="auto", on_event=events.append)
    assert list(outcome.failed.values()) == ["the machine is gone"] and not outcome.left
    assert [store.is_done(work) for work in wanted] == [True, False, True]
    assert ray.asked == [{"num_cpus": 1, "num_gpus": 0, "max_retries": 0}]
    assert [each.state for each in events if each.job.work.name == "a"] == ["begun", "done"]
    assert run_over_ray(jobs_of(wanted, store), store, address="auto", budget_s=0.0).left


def test_a_gpu_is_kept_where_it_computes_on_one(store, counting, monkeypatch) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    run_over_ray(jobs_of([counting("a")], store), store, address="auto", device="cuda", gpus_per_job=0.5)
    assert ray.asked[0]["num_gpus"] == 0.5


@pytest.mark.parametrize(("gpus", "at_once"), [(0.5, 2), (1.0, 1)])
def test_no_more_jobs_are_begun_than_there_are_gpus_for(store, counting, monkeypatch, gpus, at_once) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay(CPU=16.0, GPU=1.0))
    under_way, most = 0, 0

    def hear(event: WorkEvent) -> None:
        nonlocal under_way, most
        under_way += {"begun": 1, "done": -1}[event.state]
        most = max(most, under_way)

    jobs = jobs_of([counting(name) for name in "abcd"], store)
    run_over_ray(jobs, store, address="auto", device="cuda", gpus_per_job=gpus, on_event=hear)
    assert most == at_once


def test_without_ray_it_is_said_how_to_get_it(store, counting, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotInstalledError, match="pip install"):
        run_over_ray(jobs_of([counting("a")], store), store, address="auto")
