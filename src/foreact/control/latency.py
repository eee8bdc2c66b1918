"""How long answers take: models of it for virtual time, and the delay to reckon with, measured as it goes."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, repeat
from math import ceil, isfinite

import numpy as np

from foreact.errors import ConfigurationError

_ROUNDING_TICKS = 1e-6
"""Sums of tick lengths are not exact; an answer this much over a tick is within it."""


def constant(latency_s: float) -> Iterator[float]:
    """Seconds per answer: always the same."""
    _check("latency", [latency_s])
    return repeat(latency_s)


def recorded(trace_s: Sequence[float]) -> Iterator[float]:
    """Seconds per answer as once measured; begins again at the end."""
    if not len(trace_s):
        raise ConfigurationError("trace of latencies", got="none", allowed="1 or more")
    _check("trace of latencies", trace_s)
    return cycle([float(latency_s) for latency_s in trace_s])


def lognormal(median_s: float, spread: float, *, seed: int) -> Iterator[float]:
    """Seconds per answer, drawn at random; skewed to the slow side, as real ones are.

    Args:
        median_s: Half of them are longer, in seconds.
        spread: Standard deviation of their logarithm; 0.3 makes one in twenty longer than 1.6 medians.
        seed: Same seed, same latencies.
    """
    _check("median latency", [median_s])
    _check("spread of latencies", [spread])
    rng = np.random.default_rng(seed)
    return (median_s * float(np.exp(spread * rng.standard_normal())) for _ in repeat(None))


@dataclass(frozen=True, kw_only=True)
class DelaySettings:
    """How the delay to reckon with follows from those measured."""

    quantile: float = 0.95
    """Share of the measured delays that are no longer."""
    window: int = 32
    """Delays looked back at."""
    initial_s: float | None = None
    """Seconds to reckon with until the first turn is measured; None: as long as the first chunk took."""
    margin_ticks: int = 0
    """Ticks added for safety."""

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ConfigurationError("DelaySettings.quantile", got=self.quantile, allowed="0 to 1")
        if self.window < 1:
            raise ConfigurationError("DelaySettings.window", got=self.window, allowed="1 or more")
        if self.margin_ticks < 0:
            raise ConfigurationError("DelaySettings.margin_ticks", got=self.margin_ticks, allowed="0 or more")
        if self.initial_s is not None:
            _check("DelaySettings.initial_s", [self.initial_s])


class DelayEstimate:
    """A running upper quantile of measured delays, in ticks."""

    def __init__(self, settings: DelaySettings, action_hz: float):
        """Know nothing but the initial guess."""
        self._settings, self._action_hz = settings, action_hz
        self._recent_s: deque[float] = deque(maxlen=settings.window)
        self._delay_s = settings.initial_s

    def measured_first(self, delay_s: float) -> None:
        """Take the first chunk's delay for a guess, unless there is one: it is computed otherwise than the rest."""
        if self._delay_s is None:
            self._delay_s = delay_s

    def measured(self, delay_s: float) -> None:
        """Take in a turn's delay."""
        self._recent_s.append(delay_s)
        self._delay_s = float(np.quantile(list(self._recent_s), self._settings.quantile, method="higher"))

    @property
    def ticks(self) -> int:
        """Ticks to reckon with, the margin included."""
        exact_ticks = (self._delay_s or 0.0) * self._action_hz
        return max(0, ceil(exact_ticks - _ROUNDING_TICKS)) + self._settings.margin_ticks


def _check(what: str, values: Sequence[float]) -> None:
    for value in values:
        if not (isfinite(value) and value >= 0):
            raise ConfigurationError(what, got=value, allowed="finite, 0 or more")
