"""What was counted while a robot was driven."""

from dataclasses import dataclass, field, fields

import numpy as np


@dataclass(kw_only=True)
class Tally:
    """Counters while they run."""

    num_ticks: int = 0
    num_first_ticks: int = 0
    num_idle_ticks: int = 0
    num_slowed_ticks: int = 0
    num_stopping_ticks: int = 0
    num_late_ticks: int = 0
    num_missed_ticks: int = 0
    worst_lateness_s: float = 0.0
    num_turns: int = 0
    num_late_chunks: int = 0
    num_fallbacks: int = 0
    delays_s: list[float] = field(default_factory=list)
    executed: list[np.ndarray] = field(default_factory=list)
    wall_ticks: list[int] = field(default_factory=list)

    def report(self, reason: str | None, *, worker_ended: bool) -> "DriveReport":
        """What was counted so far."""
        counted = {f.name: getattr(self, f.name) for f in fields(self) if f.name.startswith(("num_", "worst_"))}
        return DriveReport(
            reason=reason,
            executed=np.stack(self.executed) if self.executed else np.zeros((0, 0), np.float32),
            executed_wall_ticks=np.array(self.wall_ticks, np.int64),
            delays_s=tuple(self.delays_s),
            worker_ended=worker_ended,
            **counted,
        )


@dataclass(frozen=True, kw_only=True)
class DriveReport:
    """One episode at the robot's side. `num_ticks` is the sum of executed, first, idle, slowed and stopping ticks."""

    reason: str | None
    """Why the robot was stopped; None if it was done."""
    executed: np.ndarray
    """float32 [policy ticks, num_dofs]: the commands that executed the policy's actions, one each."""
    executed_wall_ticks: np.ndarray
    """int64 [policy ticks]: ticks of the clock at which they were given, counted from the start."""
    num_ticks: int
    """Ticks at which the loop acted, missed ones not counted."""
    num_first_ticks: int
    """Ticks for which the first chunk was awaited."""
    num_idle_ticks: int
    """Ticks held for want of an action, those for the first chunk not counted."""
    num_slowed_ticks: int
    """Ticks on the way to an action that slowing down made longer."""
    num_stopping_ticks: int
    """Ticks of coming to rest at the end."""
    num_late_ticks: int
    """Commands given later after their deadline than the limit that was set."""
    num_missed_ticks: int
    """Deadlines passed over, because a command came a period or more late."""
    worst_lateness_s: float
    """The most that a command came after its deadline, in seconds."""
    num_turns: int
    """Turns asked for, the first chunk not counted."""
    num_late_chunks: int
    """Chunks that the robot had to hold or slow down for, or whose undecided beginning had passed."""
    num_fallbacks: int
    """Answers that asked to see first."""
    delays_s: tuple[float, ...]
    """Seconds from each turn to its chunk; the first chunk's is not among them."""
    worker_ended: bool
    """False if a turn was still being computed when all was over, and would not end."""

    @property
    def num_executed(self) -> int:
        """Actions executed."""
        return len(self.executed)

    @property
    def idle_share(self) -> float:
        """Idle ticks over all ticks from the first action to the stop; 0 if there were none."""
        moving = self.num_ticks - self.num_first_ticks - self.num_stopping_ticks
        return self.num_idle_ticks / moving if moving else 0.0

    @property
    def late_share(self) -> float:
        """Late commands over all ticks; 0 if there were none."""
        return self.num_late_ticks / self.num_ticks if self.num_ticks else 0.0
