"""How fast one connection is read: a token bucket for its messages, another for their bytes."""

from collections.abc import Callable
from time import monotonic

from foreact.serving.config import Limits

_BURST_S = 2.0
"""Seconds' worth that may come at once."""


class Bucket:
    """Holds up to `_BURST_S` seconds' worth of what it lets through; may be overdrawn, which is then waited for."""

    def __init__(self, rate_per_s: float, *, now: Callable[[], float] = monotonic):
        """Begin full."""
        self._rate, self._now = rate_per_s, now
        self._left, self._at_s = rate_per_s * _BURST_S, now()

    def take(self, amount: float) -> float:
        """Take out an amount; return the seconds to wait before anything more is let through."""
        now_s = self._now()
        self._left = min(self._rate * _BURST_S, self._left + (now_s - self._at_s) * self._rate) - amount
        self._at_s = now_s
        return max(0.0, -self._left / self._rate)


class ConnectionPace:
    """All that is counted of a connection before anything of it is answered."""

    def __init__(self, limits: Limits, *, now: Callable[[], float] = monotonic):
        """Begin full."""
        self._messages, self._bytes = Bucket(limits.messages_per_s, now=now), Bucket(limits.bytes_per_s, now=now)
        self._frames = Bucket(limits.frames_per_s, now=now)
        self._control_frames = Bucket(limits.control_frames_per_s, now=now)

    def take_message(self) -> float:
        """Count one message; return the seconds to wait before the next is read."""
        return self._messages.take(1.0)

    def take_bytes(self, num_bytes: int, num_frames: int) -> float:
        """Count bytes and the frames that ended in them; return the seconds to wait before more is read."""
        return max(self._bytes.take(float(num_bytes)), self._frames.take(float(num_frames)))

    def take_control_frames(self, num_frames: int) -> bool:
        """Count pings, pongs and closes; return whether there were too many."""
        return self._control_frames.take(float(num_frames)) > 0
