"""Time as the control loop sees it: the machine's, or one that only the loop moves."""

import time
from typing import Protocol, runtime_checkable


@runtime_checkable
class Clock(Protocol):
    """Seconds since some instant, and waiting for one."""

    def now(self) -> float:
        """Seconds, never less than before."""
        ...

    def sleep_until(self, time_s: float) -> None:
        """Return at `time_s` or as soon after as can be; at once if it is past."""
        ...


class RealClock:
    """The machine's monotonic clock. Deadlines are absolute: a late one does not make the next late."""

    def now(self) -> float:
        """Seconds since an arbitrary instant."""
        return time.monotonic()

    def sleep_until(self, time_s: float) -> None:
        """Sleep until then."""
        if (remaining_s := time_s - time.monotonic()) > 0:
            time.sleep(remaining_s)


class VirtualClock:
    """Time that passes only by waiting: the same run every time, as fast as the machine can."""

    def __init__(self, start_s: float = 0.0):
        """Begin at `start_s`."""
        self._now_s = start_s

    def now(self) -> float:
        """Seconds waited for so far."""
        return self._now_s

    def sleep_until(self, time_s: float) -> None:
        """Make it `time_s`, unless it is later already."""
        self._now_s = max(self._now_s, time_s)
