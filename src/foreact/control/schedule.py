"""Ticks at absolute deadlines: a late tick makes no other late, and missed ones are not caught up with."""

from foreact.control.clock import Clock
from foreact.control.report import Tally


class Schedule:
    """The deadlines of one run; the first is now."""

    def __init__(self, clock: Clock, tick_s: float, tally: Tally, *, late_s: float):
        """Start the count at the first `wait`.

        Args:
            clock: Waits.
            tick_s: Seconds between deadlines.
            tally: Where late and missed ticks are counted.
            late_s: Seconds after a deadline from which a command counts as late.
        """
        self._clock, self._tick_s, self._tally, self._late_s = clock, tick_s, tally, late_s
        self._start_s: float | None = None
        self.index = -1
        """The tick of the clock this is, counted from 0."""

    def wait(self) -> None:
        """Return at the next deadline."""
        self.index += 1
        self._start_s = self._clock.now() if self._start_s is None else self._start_s
        self._clock.sleep_until(self._deadline_s())

    def acting(self) -> None:
        """Note that the command of this tick is given now; a period or more too late, it serves for a later tick."""
        late_s = max(0.0, self._clock.now() - self._deadline_s())
        self._tally.num_ticks += 1
        self._tally.num_late_ticks += late_s > self._late_s
        self._tally.worst_lateness_s = max(self._tally.worst_lateness_s, late_s)
        missed = int(late_s / self._tick_s)
        self._tally.num_missed_ticks += missed
        self.index += missed

    def _deadline_s(self) -> float:
        assert self._start_s is not None
        return self._start_s + self.index * self._tick_s
