"""The one clock: named spans, timed where the work is done, read by benchmarks, reports and viewers alike."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Trace:
    """Milliseconds spent in each named span since the last `take`."""

    def __init__(self, synchronize: Callable[[], None] | None = None):
        """Start empty.

        Args:
            synchronize: Waits for an accelerator to finish its queue; without it only the CPU's time is seen.
        """
        self._synchronize = synchronize or (lambda: None)
        self._spent_ms: dict[str, float] = defaultdict(float)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`."""
        self._synchronize()
        start = time.perf_counter()
        try:
            yield
        finally:
            self._synchronize()
            self._spent_ms[name] += (time.perf_counter() - start) * 1e3

    def take(self) -> dict[str, float]:
        """Return milliseconds per span, and start anew."""
        spent, self._spent_ms = dict(self._spent_ms), defaultdict(float)
        return spent
