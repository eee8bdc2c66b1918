"""Stopping for good."""

from threading import Lock


class EmergencyStop:
    """A switch that any thread may throw; the robot is stopped at the next tick, and it cannot be thrown back."""

    def __init__(self):
        """Not thrown."""
        self._lock = Lock()
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """Why it was thrown; None if it was not."""
        return self._reason

    def stop(self, reason: str) -> None:
        """Throw it; the first reason stays."""
        with self._lock:
            if self._reason is None:
                self._reason = reason
