"""Whoever comes back is led to where it was; others to the emptier of two."""

import asyncio
from unittest.mock import Mock

import pytest

pytest.importorskip("ray.serve", reason="pip install 'foreact[policy,ray]'")

from ray.serve.request_router import PendingRequest, ReplicaID, ReplicaResult, RunningReplica

from foreact.serving import ray_router
from foreact.serving.ray_router import ReturningRouter

IDS = {name: Mock(ReplicaID, unique_id=name) for name in "abc"}
REPLICAS = [Mock(RunningReplica, replica_id=replica_id) for replica_id in IDS.values()]


@pytest.fixture
def router() -> ReturningRouter:
    """Without the event loop and metrics that Ray gives it."""
    router = ReturningRouter.__new__(ReturningRouter)
    router.initialize_state()
    return router


def request(name: str, number: str = "1") -> PendingRequest:
    stored = Mock(session_id=name, internal_request_id=number)
    return Mock(PendingRequest, metadata=stored, routing_context=Mock(should_backoff=False))


def choose(router, pending, replicas=REPLICAS) -> list[str]:
    """Names, in the order in which they are to be tried."""
    ranks = asyncio.run(router.choose_replicas(replicas, pending))
    assert all(len(rank) == 1 for rank in ranks)
    return [rank[0].replica_id.unique_id for rank in ranks]


def route(router, name: str, to: str, number: str = "1") -> None:
    router.on_request_routed(request(name, number), IDS[to], Mock(ReplicaResult))


def test_a_new_robot_goes_where_there_are_fewest(router) -> None:
    pending = request("robot")
    assert {choose(router, pending)[0] for _ in range(50)} == set("abc")  # all are empty
    assert pending.routing_context.should_backoff
    for number, replica in enumerate("abbc"):
        route(router, "", replica, str(number))
    assert choose(router, pending)[2] == "b"
    route(router, "", "a", "4")
    assert choose(router, pending)[0] == "c" == choose(router, None)[0]
    router.on_request_completed(IDS["b"], "1")
    router.on_request_completed(IDS["b"], "2")
    router.on_request_completed(IDS["b"], "never routed")
    assert choose(router, pending) == ["b", "c", "a"]
    assert set(router._under_way) == {IDS["a"], IDS["c"]}


def test_one_that_comes_back_goes_where_it_was_as_long_as_that_lives(router) -> None:
    for number in ("1", "2"):
        route(router, "robot", "b", number)
    assert choose(router, request("robot"))[0] == "b"
    alive = [REPLICAS[0], REPLICAS[2]]
    assert sorted(choose(router, request("robot"), alive)) == ["a", "c"]
    route(router, "robot", "c")
    assert choose(router, request("robot"))[0] == "c"


def test_those_without_a_name_are_not_remembered(router) -> None:
    route(router, "", "b")
    assert choose(router, request(""))[2] == "b" and not router._kept


def test_only_so_many_are_remembered(router, monkeypatch) -> None:
    monkeypatch.setattr(ray_router, "_MOST_KEPT", 2)
    for name in ("one", "two", "one", "three"):
        route(router, name, "b")
    assert list(router._kept) == ["one", "three"]
