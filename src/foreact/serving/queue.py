"""What waits to be computed, the most urgent first."""

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import count
from threading import Condition
from time import monotonic
from typing import Generic, TypeVar

from foreact.control.protocol import RefusalError
from foreact.serving.arrivals import Arrivals
from foreact.serving.config import Batching

T = TypeVar("T")
MOST_HELD_S = 4.0
"""Seconds for which what can wait is held back at most: its clients are still there then."""
_LOOK_AGAIN_S = 0.02


@dataclass(order=True)
class Waiting(Generic[T]):
    """One thing that waits."""

    can_wait: bool
    """Whether it comes after everything that cannot, however late it gets."""
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
    """Filled by any thread, emptied by one. What cannot wait first, of that the earliest due; bounded; closed once."""

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

    def __len__(self) -> int:
        return len(self._heap)

    def put(
        self, item: T, *, due_s: float, batchable: bool, can_wait: bool = False, asker: Hashable | None = None
    ) -> None:
        """Add one; what can wait does so, and is not computed together with what cannot.

        Args:
            item: It.
            due_s: When it is needed, by the monotonic clock.
            batchable: Whether it can be computed together with others that are.
            can_wait: Whether it comes after everything that cannot, and is not begun when such is about to come.
            asker: Who asks at even distances, and is expected again; None: nobody knows.

        Raises:
            RefusalError: busy or shutting_down: as many as may wait do, or the queue is closed.
        """
        with self._changed:
            if self._closed:
                raise RefusalError("shutting_down", "policy server", got="is shutting down", cure="connect again later")
            if len(self._heap) >= self._most:
                raise RefusalError("busy", "requests waiting", got=len(self._heap), allowed=f"up to {self._most}")
            now_s = monotonic()
            if asker is not None and not can_wait:
                self._arrivals.note(asker, now_s)
            waiting = Waiting(can_wait, due_s, next(self._numbers), item, batchable, now_s)
            heapq.heappush(self._heap, waiting)
            self._changed.notify()

    def take(self, expected_s: float) -> list[Waiting[T]]:
        """Return what is to be computed now, once there is something; empty when closed and nothing is left.

        Args:
            expected_s: How long computing a batch takes: nobody is made late by waiting for others.
        """
        free_s = monotonic()  # those answered just now may be about to ask again
        with self._changed:
            while not self._heap and not self._closed:
                self._changed.wait()
            if not self._heap:
                return []
            self._hold_back(expected_s)
            if self._heap[0].batchable:
                self._await_others(free_s, expected_s)
            return self._pop_batch()

    def close(self) -> None:
        """Take nothing more in; what waits can still be taken out."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _hold_back(self, expected_s: float) -> None:
        """Return once what comes first cannot wait, or will be computed before the next that cannot is expected."""
        while self._heap[0].can_wait and not self._closed:
            now_s = monotonic()
            next_s, held_until_s = self._arrivals.next_s(now_s), self._heap[0].since_s + MOST_HELD_S
            if now_s + expected_s <= next_s or now_s >= held_until_s:
                return
            # Looked at again when something comes, or when what was expected has not come.
            self._changed.wait(min(held_until_s - now_s, max(next_s - now_s, _LOOK_AGAIN_S)))

    def _await_others(self, free_s: float, expected_s: float) -> None:
        while not self._closed:
            first = self._heap[0]
            until_s = max(free_s, first.since_s) + self._batching.wait_ms / 1e3
            start_by_s, now_s = first.due_s - expected_s, monotonic()
            remaining_s = (until_s if start_by_s < now_s else min(until_s, start_by_s)) - now_s  # or late anyway
            if remaining_s <= 0 or len(self._heap) >= min(self._batching.most, self._num_clients()):
                return
            self._changed.wait(remaining_s)

    def _pop_batch(self) -> list[Waiting[T]]:
        batch = [heapq.heappop(self._heap)]
        if not batch[0].batchable:
            return batch
        later: list[Waiting[T]] = []
        while self._heap and len(batch) < self._batching.most:
            waiting = heapq.heappop(self._heap)
            (batch if waiting.batchable and waiting.can_wait == batch[0].can_wait else later).append(waiting)
        for waiting in later:
            heapq.heappush(self._heap, waiting)
        return batch
