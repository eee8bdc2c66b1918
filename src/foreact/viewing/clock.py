"""A clock that can be paused and slowed down while a control loop goes by it."""

import time
from collections.abc import Callable
from threading import Condition

from foreact.errors import ConfigurationError

SLOWEST, FASTEST = 0.05, 1.0
_IDLE_S = 0.03
"""While the clock is paused, `on_idle` is called this often."""


class PausableClock:
    """Seconds that pass at the machine's pace, more slowly, or not at all. Any thread may change the pace."""

    def __init__(self, on_idle: Callable[[], None] = lambda: None):
        """Begin at zero, running at the machine's pace.

        Args:
            on_idle: Called again and again, by the thread that waits, while the clock is paused.
        """
        self._on_idle = on_idle
        self._changed = Condition()
        self._speed, self._paused = 1.0, False
        self._then_s, self._base_s = time.monotonic(), 0.0
        """The machine's time at the last change of pace, and this clock's at the same instant."""

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        return self._paused

    def now(self) -> float:
        """Seconds since it was made, pauses left out."""
        with self._changed:
            return self._base_s + (time.monotonic() - self._then_s) * self._rate

    def sleep_until(self, time_s: float) -> None:
        """Return at `time_s` of this clock; not while it is paused, even if `time_s` is past."""
        while True:
            remaining_s = time_s - self.now()
            if not self._paused:
                if remaining_s <= 0:
                    return
                with self._changed:
                    self._changed.wait(remaining_s / self._speed)
            else:
                self._on_idle()
                with self._changed:
                    self._changed.wait(_IDLE_S)

    def pause(self) -> None:
        """Stand still until `resume`."""
        self._change(self._speed, paused=True)

    def resume(self) -> None:
        """Go on."""
        self._change(self._speed, paused=False)

    def set_speed(self, speed: float) -> None:
        """Pass this many seconds per second of the machine's.

        Raises:
            ConfigurationError: The speed is not in `SLOWEST` to `FASTEST`.
        """
        if not SLOWEST <= speed <= FASTEST:
            raise ConfigurationError("speed of the clock", got=speed, allowed=f"{SLOWEST} to {FASTEST:g}")
        self._change(speed, paused=self._paused)

    @property
    def _rate(self) -> float:
        return 0.0 if self._paused else self._speed

    def _change(self, speed: float, *, paused: bool) -> None:
        with self._changed:
            now_s = time.monotonic()
            self._base_s += (now_s - self._then_s) * self._rate
            self._then_s, self._speed, self._paused = now_s, speed, paused
            self._changed.notify_all()
