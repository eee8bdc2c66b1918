"""When robots that move will ask again, so that nothing that can wait is begun just before."""

from collections.abc import Hashable
from math import inf

_FORGOTTEN_S = 30.0
_OVERDUE_SHARE = 0.25


class Arrivals:
    """Reckons when each asker comes next from when it came last: robots ask once per chunk, at even distances."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[float, float]] = {}
        """When each came last, and how long after the time before."""

    def note(self, asker: Hashable, now_s: float) -> None:
        """Take in that one asks now."""
        last_s, _ = self._known.get(asker, (-inf, inf))
        self._known[asker] = (now_s, now_s - last_s)
        if now_s - min(last_s for last_s, _ in self._known.values()) > _FORGOTTEN_S:
            self._known = {who: came for who, came in self._known.items() if now_s - came[0] <= _FORGOTTEN_S}

    def forget(self, asker: Hashable) -> None:
        """Expect one no longer: it is here, and does not move."""
        self._known.pop(asker, None)

    def next_s(self, now_s: float) -> float:
        """Return when the next of them is expected, now if it is due already; infinity if nobody is.

        Who is overdue by a quarter of its distance has other things to do, and is no longer expected.
        """
        due = [
            last_s + distance_s
            for last_s, distance_s in self._known.values()
            if now_s <= last_s + (1 + _OVERDUE_SHARE) * distance_s and distance_s < _FORGOTTEN_S
        ]
        return max(now_s, min(due)) if due else inf
