"""The robot's hand: one command a tick, from the queue through the limits, or a hold."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foreact.control.clock import Clock
from foreact.control.config import ControlConfig
from foreact.control.emergency import EmergencyStop
from foreact.control.limits import MotionLimiter, MotionLimits
from foreact.control.queue import ActionQueue
from foreact.control.report import Tally
from foreact.control.robot import Robot
from foreact.control.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """An answer that has not come yet."""

    asked_s: float
    """When it was asked for."""
    planned_stand: bool
    """The robot is meant to stand still until it comes: that is not late."""


class Executor:
    """Gives the robot its commands. Policy time advances with the actions executed, and stands still with the robot."""

    def __init__(
        self,
        robot: Robot,
        config: ControlConfig,
        clock: Clock,
        *,
        emergency: EmergencyStop,
        standstill: np.ndarray | None = None,
    ):
        """Give no command yet.

        Args:
            robot: At its starting position.
            config: How.
            clock: Gives the deadlines.
            emergency: Checked at every tick.
            standstill: The command that holds the robot where it stands, float32 [num_dofs].

        Raises:
            ConfigurationError: Motion is limited and there is no `standstill`.
            InputError: `standstill` is outside the workspace.
        """
        self._robot, self._config, self._clock, self._emergency = robot, config, clock, emergency
        self._limiter = MotionLimiter(config.limits or MotionLimits(), config.tick_s, standstill)
        self._can_hold = standstill is not None
        self.tally = Tally()
        self.queue = ActionQueue(blend_actions=config.blend_actions)
        self._schedule = Schedule(clock, config.tick_s, self.tally, late_s=config.late_tick_ms / 1e3)
        self._part, self._frame_due, self._acted = 0, False, True

    @property
    def running(self) -> bool:
        """True until the robot is done or was stopped."""
        return not self._robot.done and self._emergency.reason is None

    def wait(self) -> Mapping[str, np.ndarray] | None:
        """Return at the next tick: the pictures if the last action ended a camera frame, None if not."""
        self._schedule.wait()
        self._acted = False
        if not self._frame_due:
            return None
        self._frame_due = False
        return self._robot.observe().images

    def tick(self, awaited: Awaited | None, stand_tick: int | None) -> None:
        """Give this tick's command, unless the robot is to be stopped.

        Args:
            awaited: The answer that is awaited.
            stand_tick: The policy tick at which the robot stands still until there is an answer.
        """
        waited_s = self._clock.now() - awaited.asked_s if awaited else 0.0
        remaining = min(self.queue.end, self.queue.end if stand_tick is None else stand_tick) - self.queue.next_tick
        wanting = awaited is not None and not awaited.planned_stand
        if self._config.watchdog_s is not None and waited_s >= self._config.watchdog_s:
            self._emergency.stop(
                f"no answer for {waited_s:.3g} s, the watchdog's limit is {self._config.watchdog_s:g} s"
            )
        elif wanting and remaining <= 0 and self._config.late == "stop":
            self._emergency.stop(f"no action for policy tick {self.queue.next_tick}: the chunk is late")
        if self._emergency.reason is not None:
            return
        if remaining <= 0:
            self._stand()
        else:
            self._advance(slow=wanting and remaining <= self._config.slow_below and self._config.late == "slow")

    def rest(self) -> None:
        """Bring the robot to rest within its limits, ending with a hold; nothing if it is done or never was moved."""
        while self._can_hold and not self._robot.done:
            if self._acted:
                self._schedule.wait()
            self.tally.num_stopping_ticks += 1
            self._command(self._limiter.halt())
            if self._limiter.at_rest:
                return

    def _advance(self, *, slow: bool) -> None:
        """Execute the next action, or, slowed down, a part of the way to it."""
        parts = self._config.slow_factor
        self._part = self._part + 1 if slow else parts
        if self._part < parts:
            between = self.queue.at(self.queue.next_tick - 1 + self._part / parts)
            self.tally.num_slowed_ticks += 1
            self._command(self._limiter.allow(between))
            return
        command = self._limiter.allow(self.queue.take())
        self._part = 0
        self._frame_due = self.queue.next_tick % self._config.camera_stride == 0
        self._command(command)
        self.tally.executed.append(command)
        self.tally.wall_ticks.append(self._schedule.index)

    def _stand(self) -> None:
        """Hold, if there is anything to hold."""
        if self.queue.next_tick == 0:
            self.tally.num_first_ticks += 1
        else:
            self.tally.num_idle_ticks += 1
        self._command(self._limiter.halt() if self._can_hold else None)

    def _command(self, command: np.ndarray | None) -> None:
        self._schedule.acting()
        self._acted = True
        if command is not None:
            self._can_hold = True
            self._robot.act(command)
