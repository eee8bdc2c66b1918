"""What waits to be computed, the most urgent first."""

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from math import inf
from threading import Condition
from time import monotonic
from typing import Generic, TypeVar

from foreact.control.protocol import RefusalError
from foreact.serving.arrivals import Arrivals
from foreact.serving.config import Batching

T = TypeVar("T")
MOST_HELD_S = 4.0
"""Seconds for which what can wait is held back at most: its clients are still there then."""
BETWEEN_FORCED_S = 2.0
"""Seconds between two things begun although they had better waited: then robots that move are late by one at most."""
_LOOK_AGAIN_S = 0.02
Expected = Callable[[int], float]
"""Seconds that computing so many together takes; 0: what cannot be computed together."""


class Urgency(IntEnum):
    """Who comes first."""

    MOVES = 0
    """The robot moves, and will run out of actions."""
    STANDS = 1
    """The robot stands still until it is answered."""
    ONCE = 2
    """Nobody knows whether a robot moves: the client says nothing but what it sees now."""
    AHEAD = 3
    """It asks faster than any robot moves: a simulator, or a flood."""


@dataclass(order=True)
class Waiting(Generic[T]):
    """One thing that waits."""

    urgency: Urgency
    """The lower come first, however late the others get."""
    due_s: float
    """When it is needed, by the monotonic clock."""
    number: int
    """In the order of arrival."""
    item: T = field(compare=False)
    """It."""
    batchable: bool = field(compare=False)
    """Whether it can be computed together with others that are."""
    since_s: float = field(compare=False)
    """When it came."""


class DueQueue(Generic[T]):
    """Filled by any thread, emptied by one; bounded; closed once.

    Robots that move come first, of these the one that runs out of actions soonest. They ask once per chunk, so it is
    known when the next of them comes; what can wait is begun where it will be over by then, as many at once as that
    allows. What has been held back for `MOST_HELD_S` is begun all the same, alone, once in `BETWEEN_FORCED_S`.
    """

    def __init__(self, most: int, batching: Batching, num_clients: Callable[[], int]):
        """Begin empty.

        Args:
            most: Things that may wait.
            batching: How many are taken at once, and how long the first of them waits for others.
            num_clients: How many could be waiting at all: nothing is waited for if all are here.
        """
        self._most, self._batching, self._num_clients = most, batching, num_clients
        self._heap: list[Waiting[T]] = []
        self._changed, self._numbers = Condition(), count()
        self._closed = False
        self._arrivals = Arrivals()
        self._forced_s = -inf

    def __len__(self) -> int:
        return len(self._heap)

    def put(
        self,
        item: T,
        *,
        due_s: float,
        batchable: bool,
        urgency: Urgency = Urgency.MOVES,
        asker: Hashable | None = None,
    ) -> None:
        """Add one.

        Args:
            item: It.
            due_s: When it is needed, by the monotonic clock.
            batchable: Whether it can be computed together with others that are, and are as urgent.
            urgency: Whether it can wait.
            asker: Whose it is. One that moves asks at even distances, and is expected again. None: nobody knows.

        Raises:
            RefusalError: busy or shutting_down: as many as may wait do, or the queue is closed.
        """
        with self._changed:
            if self._closed:
                raise RefusalError("shutting_down", "policy server", got="is shutting down", cure="connect again later")
            if len(self._heap) >= self._most:
                raise RefusalError("busy", "requests waiting", got=len(self._heap), allowed=f"up to {self._most}")
            now_s = monotonic()
            if urgency is Urgency.MOVES and asker is not None:
                self._arrivals.note(asker, now_s)
            elif asker is not None:
                self._arrivals.forget(asker)
            waiting = Waiting(urgency, due_s, next(self._numbers), item, batchable, now_s)
            heapq.heappush(self._heap, waiting)
            self._changed.notify()

    def take(self, expected_s: Expected, moving_s: float | None = None) -> list[Waiting[T]]:
        """Return what is to be computed now, once there is something; empty when closed and nothing is left.

        Args:
            expected_s: How long computing what can wait takes: it is over before the next robot asks.
            moving_s: The same for robots that move: none is made late by waiting for others. None: as for one that can.
        """
        free_s = monotonic()  # those answered just now may be about to ask again
        with self._changed:
            while True:
                while not self._heap and not self._closed:
                    self._changed.wait()
                if not self._heap:
                    return []
                if (forced := self._overdue(monotonic())) is not None:
                    return [forced]
                most = self._most_now(expected_s)
                if most:
                    if self._heap[0].batchable and self._heap[0].urgency is Urgency.MOVES:
                        self._await_others(free_s, expected_s(1) if moving_s is None else moving_s)
                    return self._pop_batch(most)

    def close(self) -> None:
        """Take nothing more in; what waits can still be taken out."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _overdue(self, now_s: float) -> Waiting[T] | None:
        """Take out the one that has been held back for too long, if it may be begun now."""
        if self._closed or now_s - self._forced_s < BETWEEN_FORCED_S:
            return None
        moves, alone = Urgency.MOVES, self._heap[0].urgency is Urgency.AHEAD
        held = [
            each
            for each in self._heap
            if each.urgency is not moves
            and (alone or each.urgency is not Urgency.AHEAD)
            and now_s - each.since_s >= MOST_HELD_S
        ]
        if not held:
            return None
        oldest = min(held, key=lambda each: (each.urgency, each.since_s))
        self._forced_s = now_s
        self._heap.remove(oldest)
        heapq.heapify(self._heap)
        return oldest

    def _most_now(self, expected_s: Expected) -> int:
        """Return how many of what comes first can be begun now; 0, after a while, if none: then look again."""
        first = self._heap[0]
        if first.urgency is Urgency.MOVES or self._closed:
            return self._batching.most
        now_s = monotonic()
        next_s = self._arrivals.next_s(now_s)
        if next_s == inf:
            return self._batching.most
        sizes = range(self._batching.most, 0, -1) if first.batchable else (0,)
        for size in sizes:
            if now_s + expected_s(size) <= next_s:
                return max(size, 1)
        # Looked at again when something comes, when what was expected has not come, or when it is overdue.
        overdue_s = max(first.since_s + MOST_HELD_S, self._forced_s + BETWEEN_FORCED_S)
        self._changed.wait(max(_LOOK_AGAIN_S, min(overdue_s, max(next_s, now_s + _LOOK_AGAIN_S)) - now_s))
        return 0

    def _await_others(self, free_s: float, expected_s: float) -> None:
        while not self._closed:
            first = self._heap[0]
            until_s = max(free_s, first.since_s) + self._batching.wait_ms / 1e3
            start_by_s, now_s = first.due_s - expected_s, monotonic()
            remaining_s = (until_s if start_by_s < now_s else min(until_s, start_by_s)) - now_s  # or late anyway
            if remaining_s <= 0 or len(self._heap) >= min(self._batching.most, self._num_clients()):
                return
            self._changed.wait(remaining_s)

    def _pop_batch(self, most: int) -> list[Waiting[T]]:
        batch = [heapq.heappop(self._heap)]
        if not batch[0].batchable:
            return batch
        later: list[Waiting[T]] = []
        while self._heap and len(batch) < most:
            waiting = heapq.heappop(self._heap)
            (batch if waiting.batchable and waiting.urgency is batch[0].urgency else later).append(waiting)
        for waiting in later:
            heapq.heappush(self._heap, waiting)
        return batch
