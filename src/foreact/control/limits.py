"""How far, how fast and how suddenly a robot may be sent; every command passes through here."""

from dataclasses import dataclass, fields

import numpy as np

from foreact.errors import ConfigurationError, InputError

_START_SLACK = 1e-6
"""Rounding by which a robot may stand outside its workspace."""


@dataclass(frozen=True, kw_only=True)
class MotionLimits:
    """Limits per degree of freedom, in the robot's own units; commands are positions. None, or inf, is no limit."""

    low: tuple[float, ...] | None = None
    """Lowest command of the workspace."""
    high: tuple[float, ...] | None = None
    """Highest command of the workspace."""
    velocity: tuple[float, ...] | None = None
    """Most change of a command per second."""
    acceleration: tuple[float, ...] | None = None
    """Most change of that velocity per second."""

    def __post_init__(self) -> None:
        given = {f.name: np.array(value) for f in fields(self) if (value := getattr(self, f.name)) is not None}
        for name, values in given.items():
            if np.isnan(values).any() or (name in ("velocity", "acceleration") and (values <= 0).any()):
                allowed = "more than 0" if name in ("velocity", "acceleration") else "numbers"
                raise ConfigurationError(f"MotionLimits.{name}", got=values, allowed=allowed)
        if len(sizes := {name: len(values) for name, values in given.items()}) and len(set(sizes.values())) > 1:
            raise ConfigurationError("MotionLimits", got=sizes, allowed="as many numbers for each")
        if "low" in given and "high" in given and (given["low"] > given["high"]).any():
            raise ConfigurationError("MotionLimits.low", got=self.low, allowed=f"at most {self.high}")

    @property
    def num_dofs(self) -> int | None:
        """Degrees of freedom limited; None: any number, none of them limited."""
        given = [value for f in fields(self) if (value := getattr(self, f.name)) is not None]
        return len(given[0]) if given else None

    @property
    def limit_motion(self) -> bool:
        """True if a command's limits depend on those before it."""
        return self.velocity is not None or self.acceleration is not None


class MotionLimiter:
    """Turns the commands that are wanted into such as keep every limit, up to float32's rounding.

    It never gives a command from which the robot could not come to rest inside its workspace. A wanted motion that
    keeps the limits passes unchanged; after one that did not, the robot catches up without overshooting.
    """

    def __init__(self, limits: MotionLimits, tick_s: float, start: np.ndarray | None = None):
        """Begin at rest.

        Args:
            limits: What to keep.
            tick_s: Seconds between commands.
            start: Where the robot stands; None: wherever the first command sends it.

        Raises:
            ConfigurationError: Motion is limited and `start` is not known.
            InputError: `start` is no position in the workspace.
        """
        self._limits, self._tick_s = limits, tick_s
        self._position: np.ndarray | None = None
        if start is not None:
            self._begin(self._checked(start))
        elif limits.limit_motion:
            raise ConfigurationError(
                "limits of velocity or acceleration", got="no starting position", cure="say where the robot stands"
            )

    @property
    def at_rest(self) -> bool:
        """True if the last command repeated the one before it, or there was none."""
        return self._position is None or not self._step.any()

    def allow(self, wanted: np.ndarray) -> np.ndarray:
        """The command to give now, float32 [num_dofs], as near to the wanted one as the limits let it.

        Raises:
            InputError: The wanted command is not finite or has another size. Nothing has changed then.
        """
        target = self._checked(wanted)
        if self._position is None:
            self._begin(np.clip(target, *self._workspace(len(target))))
        if self._limits.num_dofs is None:
            return self._follow(target)
        target = np.clip(target, self._low, self._high)
        gap = self._target - self._position
        closing = np.sign(gap) * _brakeable(np.abs(gap), self._most_change)
        closes = closing == gap
        step = np.where(closes, target - self._position, target - self._target + closing)
        self._target = target
        return self._go(step, arrives=closes)

    def halt(self) -> np.ndarray:
        """The command that brings the robot nearest to rest, float32 [num_dofs]; repeated, it holds it there.

        Raises:
            InputError: There was no command yet.
        """
        if self._position is None:
            raise InputError("halt", got="no command yet", allowed="a robot whose position is known")
        if self._limits.num_dofs is None:
            return self._follow(self._position)
        return self._go(np.zeros_like(self._position), arrives=np.zeros(self._position.shape, bool))

    def _go(self, wanted_step: np.ndarray, *, arrives: np.ndarray) -> np.ndarray:
        """Make the step as far as the limits let it; where it `arrives` unhindered, be exactly at the target."""
        least = np.maximum(-self._most_step, self._step - self._most_change)
        most = np.minimum(self._most_step, self._step + self._most_change)
        least = np.maximum(least, -_brakeable(self._position - self._low, self._most_change))
        most = np.minimum(most, _brakeable(self._high - self._position, self._most_change))
        step = np.clip(wanted_step, least, most)
        moved = np.where(arrives & (step == wanted_step), self._target, self._position + step)
        moved = np.clip(moved, self._low, self._high)
        self._step, self._position = moved - self._position, moved
        return moved.astype(np.float32)

    def _follow(self, target: np.ndarray) -> np.ndarray:
        """Go where there are no limits."""
        self._step, self._position = target - self._position, target
        return target.astype(np.float32)

    def _begin(self, start: np.ndarray) -> None:
        low, high = self._workspace(len(start))
        if (start < low - _START_SLACK).any() or (start > high + _START_SLACK).any():
            raise InputError("where the robot stands", got=start, allowed=f"{low} to {high}", cure="move it inside")
        self._low, self._high = low, high
        self._most_step = _full(self._limits.velocity, len(start), np.inf) * self._tick_s
        self._most_change = _full(self._limits.acceleration, len(start), np.inf) * self._tick_s**2
        self._position = self._target = np.clip(start, low, high)
        self._step = np.zeros_like(start)

    def _workspace(self, num_dofs: int) -> tuple[np.ndarray, np.ndarray]:
        return _full(self._limits.low, num_dofs, -np.inf), _full(self._limits.high, num_dofs, np.inf)

    def _checked(self, command: np.ndarray) -> np.ndarray:
        command = np.asarray(command, np.float32).astype(np.float64)
        known = self._limits.num_dofs if self._position is None else len(self._position)
        if command.ndim != 1 or known not in (None, len(command)):
            raise InputError("command", got=f"shape {command.shape}", allowed=f"[{known or 'num_dofs'}]")
        if not np.all(np.isfinite(command)):
            raise InputError("command", got=command, allowed="finite numbers")
        return command


def _full(values: tuple[float, ...] | None, num_dofs: int, default: float) -> np.ndarray:
    return np.full(num_dofs, default) if values is None else np.array(values, np.float64)


def _brakeable(gap: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The longest step after which steps shorter by `change` each, down to none, end within `gap`.

    With n + 1 steps left the way is (n + 1) step - change n (n + 1) / 2; n is the most for which that is not over.
    """
    gap = np.maximum(gap, 0.0)
    free = ~np.isfinite(gap) | ~np.isfinite(change)
    reach, unit = np.where(free, 0.0, gap), np.where(free, 1.0, change)
    n = np.floor((np.sqrt(1 + 8 * reach / unit) - 1) / 2)
    return np.where(free | (n == 0), gap, (reach + unit * n * (n + 1) / 2) / (n + 1))
