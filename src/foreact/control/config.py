"""How a robot is driven: rates, when the next chunk is asked for, what happens when it is late."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from foreact.control.latency import DelaySettings
from foreact.control.limits import MotionLimits
from foreact.errors import ConfigurationError

LatePolicy = Literal["hold", "slow", "stop"]


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """How `drive` drives."""

    action_hz: float = 50.0
    """Ticks per second: commands given."""
    camera_stride: int = 4
    """Actions per camera frame."""
    actions_per_latent_frame: int = 16
    """Actions per latent frame; chunks begin and turns are taken at whole latent frames."""
    latent_frames_per_chunk: int = 4
    """Latent frames whose actions a chunk holds (K)."""
    execution_horizon: int | None = None
    """Latent frames of a chunk after which the next one begins, if answers do not take longer than that; None: as
    many as can be."""
    late: LatePolicy = "hold"
    """What the robot does for want of an action: hold its last command; first slow down; stop for good."""
    slow_factor: int = 2
    """Ticks that one action takes while slowing down."""
    slow_below: int = 2
    """Actions left at which slowing down begins while an answer is awaited."""
    watchdog_s: float | None = 10.0
    """Seconds without an answer after which the robot is stopped; None: never."""
    blend_actions: int = 0
    """Actions over which a new chunk fades in where the old one reaches beyond its beginning."""
    limits: MotionLimits | None = None
    """Of every command; None: none."""
    delay: DelaySettings = field(default_factory=DelaySettings)
    """How the delay to reckon with follows from those measured."""
    late_tick_ms: float = 5.0
    """Milliseconds after its deadline from which a command counts as late."""

    def __post_init__(self) -> None:
        for name in ("camera_stride", "actions_per_latent_frame", "latent_frames_per_chunk", "slow_factor"):
            self._check(name, getattr(self, name) >= 1, "1 or more")
        self._check("action_hz", isfinite(self.action_hz) and self.action_hz > 0, "more than 0")
        self._check("blend_actions", self.blend_actions >= 0, "0 or more")
        self._check("late_tick_ms", self.late_tick_ms >= 0, "0 or more")
        self._check("late", self.late in ("hold", "slow", "stop"), "hold, slow, stop")
        self._check("slow_below", self.slow_below >= 0, "0 or more")
        self._check("watchdog_s", self.watchdog_s is None or self.watchdog_s > 0, "more than 0")
        most = self.latent_frames_per_chunk
        horizon = self.execution_horizon
        self._check("execution_horizon", horizon is None or 1 <= horizon <= most, f"1 to {most} latent frames")
        whole = self.actions_per_latent_frame % self.camera_stride == 0
        self._check("actions_per_latent_frame", whole, f"a multiple of camera_stride, {self.camera_stride}")

    @property
    def tick_s(self) -> float:
        """Seconds between commands."""
        return 1 / self.action_hz

    @property
    def actions_per_chunk(self) -> int:
        """Actions that a chunk holds."""
        return self.latent_frames_per_chunk * self.actions_per_latent_frame

    def _check(self, name: str, right: bool, allowed: str) -> None:
        if not right:
            raise ConfigurationError(f"ControlConfig.{name}", got=getattr(self, name), allowed=allowed)
