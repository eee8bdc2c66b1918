"""The one clock: named spans, timed where the work is done, read by benchmarks, reports and viewers alike."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager


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


@contextmanager
def span_all(traces: Iterable[Trace], name: str) -> Iterator[None]:
    """Add the time spent inside to `name` of every trace: each had to wait for all."""
    with ExitStack() as spans:
        for trace in traces:
            spans.enter_context(trace.span(name))
        yield
