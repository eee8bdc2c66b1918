"""Which replica a robot is led to: the one with the fewest connections, or the one it was on when it comes back.

Given to Ray Serve by name, it runs wherever connections are led in from, and is told of no session but by a header.
Ray's own router asks which of two is emptier and remembers the answer for a while, in which robots that come close upon
each other all go to one; requests that are over in a moment even that out, connections that last for hours do not.
"""

from collections import OrderedDict, defaultdict
from random import random
from typing import Any

from ray.serve.request_router import (
    FIFOMixin,
    PendingRequest,
    ReplicaID,
    ReplicaResult,
    RequestRouter,
    RunningReplica,
)

_MOST_KEPT = 10_000
"""Robots remembered; whoever came longest ago is forgotten first."""


class ReturningRouter(FIFOMixin, RequestRouter):
    """Leads whoever sends the header `X-Session-Id` back to the replica that it was on, as long as that lives."""

    def initialize_state(self, **_: Any) -> None:
        """Know nobody."""
        self._kept: OrderedDict[str, ReplicaID] = OrderedDict()
        self._under_way: defaultdict[ReplicaID, set[str]] = defaultdict(set)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas in the order in which they are to be tried."""
        kept = None
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True  # or Ray asks on and on while all are full
            kept = self._kept.get(pending_request.metadata.session_id)

        def rank(replica: RunningReplica) -> tuple[bool, int, float]:
            return replica.replica_id != kept, len(self._under_way.get(replica.replica_id, ())), random()

        return [[replica] for replica in sorted(candidate_replicas, key=rank)]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: ReplicaResult) -> None:
        """Remember where a robot went."""
        self._under_way[replica_id].add(pending_request.metadata.internal_request_id)
        if name := pending_request.metadata.session_id:
            self._kept[name] = replica_id
            self._kept.move_to_end(name)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """Count a connection no longer."""
        there = self._under_way[replica_id]
        there.discard(internal_request_id)
        if not there:
            del self._under_way[replica_id]
