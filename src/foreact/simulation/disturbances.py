# pyright: reportAttributeAccessIssue=false
# (the compiled part of MuJoCo comes without types)
"""What goes wrong in an episode without the robot's doing: things are moved, slip, are pushed, or look different.

Everything is drawn from the episode's seed before it begins, so an episode can be replayed. An event waits until the
world allows it: a cube is moved only while no arm touches it, and slips only while an arm holds it in the air.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from foreact.errors import ConfigurationError
from foreact.simulation import scene
from foreact.simulation.starts import CUBE_AREA_M, Start
from foreact.simulation.world import World

Kind = Literal["nudge", "slip", "push", "bin", "pictures"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PHYSICAL: tuple[Kind, ...] = ("nudge", "slip", "push", "bin")
LEVELS = ("none", "mild", "strong")
NAMES = (*LEVELS, *KINDS)

MOVE_STEPS = 8
"""Control steps that a hand takes to move something: 0.16 s."""
SLIP_STEPS = 12
"""Control steps for which a held cube is slippery."""
PUSH_STEPS = 12
"""Control steps for which an arm is pushed."""
PATIENCE_STEPS = 150
"""Control steps after which an event that could not happen is given up."""
FIRST_STEP = 3
"""The first picture always shows the world as it was drawn."""
SAFE_X_M = 0.05
"""A cube slips only over this side of the table, where the right arm can take it again."""
SLIPPERY = (0.001, 0.0001, 0.00001)
"""Friction of a cube that slips: sliding, torsional, rolling."""
MOST_BIN_SHIFT_M = 0.06


@dataclass(frozen=True, kw_only=True)
class _Strength:
    """How often and how much, at one level."""

    num_nudges: tuple[float, ...]
    """Probability of 0, 1, 2, ... nudges."""
    nudge_m: tuple[float, float]
    """Shortest and longest way that a cube is moved."""
    slip: float
    """Probability that the cube slips once."""
    push: float
    """Probability of a push on an arm."""
    push_n: tuple[float, float]
    """Weakest and strongest push, newtons."""
    bin: float
    """Probability that a bin is moved."""
    bin_m: tuple[float, float]
    """Shortest and longest way that it is moved."""
    brightness: float
    """Relative change of the light, at most, either way."""
    camera_m: float
    """Shift of the cameras along each axis, at most, either way."""
    last_step: int = 85
    """Nudges, pushes and moved bins begin before this step, counted from when the task may begin."""


_STRENGTHS = {
    "mild": _Strength(
        num_nudges=(0.5, 0.5),
        nudge_m=(0.02, 0.05),
        slip=0.15,
        push=0.3,
        push_n=(60.0, 120.0),
        bin=0.3,
        bin_m=(0.02, 0.04),
        brightness=0.08,
        camera_m=0.004,
    ),
    "strong": _Strength(
        num_nudges=(0.3, 0.45, 0.25),
        nudge_m=(0.02, 0.09),
        slip=0.3,
        push=0.5,
        push_n=(120.0, 240.0),
        bin=0.5,
        bin_m=(0.03, MOST_BIN_SHIFT_M),
        brightness=0.2,
        camera_m=0.01,
    ),
}
_ONE_OF = _Strength(
    num_nudges=(0.0, 1.0),
    nudge_m=(0.05, 0.05),
    slip=1.0,
    push=1.0,
    push_n=(200.0, 200.0),
    bin=1.0,
    bin_m=(0.05, 0.05),
    brightness=0.2,
    camera_m=0.01,
    last_step=50,
)
"""A kind named by itself: it happens in every episode, before the hand is at the cube."""
_ONE_FIRST_STEP = 25


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """Which surprises the episodes of a world hold."""

    name: str = "none"
    """A level ("none", "mild", "strong"), which draws how many events of its kinds there are; or one kind, of which
    every episode then has exactly one."""
    kinds: tuple[str, ...] = PHYSICAL
    """Of a level: which kinds it draws from. "pictures" (brightness and camera position) has to be asked for."""
    nudge_cm: float | None = None
    """How far a nudged cube is moved, cm; None: drawn by the level, 5 when "nudge" is named by itself."""

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ConfigurationError("disturbance", got=self.name, allowed=", ".join(NAMES))
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise ConfigurationError("kinds of disturbance", got=", ".join(unknown), allowed=", ".join(KINDS))
        if self.nudge_cm is not None and not 0 < self.nudge_cm <= 20:
            raise ConfigurationError("nudge_cm", got=self.nudge_cm, allowed="above 0, at most 20")

    @property
    def is_none(self) -> bool:
        """Whether nothing ever happens."""
        return self.name == "none"

    @property
    def extra_time(self) -> float:
        """How many times as long an episode may take, so that there is time for another try."""
        return {"none": 1.0, "mild": 1.5}.get(self.name, 2.0)

    @property
    def active_kinds(self) -> tuple[str, ...]:
        """The kinds that may happen."""
        if self.is_none:
            return ()
        return self.kinds if self.name in LEVELS else (self.name,)

    @property
    def strength(self) -> _Strength:
        """How often and how much; of `name` "none" nothing."""
        return _STRENGTHS.get(self.name, _ONE_OF)

    def describe(self) -> str:
        """Return it in a few words, for tables and titles."""
        words = [self.name]
        if self.name in LEVELS[1:] and self.kinds != PHYSICAL:
            words.append("(" + ", ".join(self.kinds) + ")")
        if self.nudge_cm is not None and "nudge" in self.active_kinds:
            words.append(f"{self.nudge_cm:g} cm")
        return " ".join(words)

    def nudge_range_m(self) -> tuple[float, float]:
        """Shortest and longest way of a nudge, in m."""
        return self.strength.nudge_m if self.nudge_cm is None else (self.nudge_cm / 100, self.nudge_cm / 100)


UNDISTURBED = Disturbance()


@dataclass(frozen=True)
class Event:
    """Something that happened: for records."""

    kind: str
    step: int
    """Control step at which it began."""
    what: str
    """The cube, the arm, the bin."""
    amount: float
    """How far it was moved in m, or how hard it was pushed in N; 0 for a slip."""

    def to_dict(self) -> dict[str, str | int | float]:
        """Return plain data for JSON."""
        return {"kind": self.kind, "step": self.step, "what": self.what, "amount": round(self.amount, 4)}


@dataclass
class _Planned:
    """Something that will happen as soon as it is due and the world allows it."""

    kind: str
    due: int
    what: str
    amount: float
    angle_rad: float = 0.0
    begun: int | None = None
    course: list[np.ndarray] = field(default_factory=list)
    """Where the thing still has to go, a position a control step; or the force still to be felt."""


class Disturber:
    """What goes wrong in one episode. `before_step` is called before every control step."""

    def __init__(self, config: Disturbance, start: Start, cubes: tuple[str, ...], rng: np.random.Generator):
        """Draw everything.

        Args:
            config: Which surprises.
            start: The episode's start.
            cubes: The cubes on the table.
            rng: Of the episode.
        """
        self.events: list[Event] = []
        """What has happened so far."""
        self.brightness, self.camera_shift_m = 1.0, np.zeros(3)
        """Of the pictures of this episode: factor of the light, shift of the cameras in m."""
        self._rng = rng
        self._planned = self._draw(config, start, cubes)
        self._held_since: dict[str, int] = {}

    def _draw(self, config: Disturbance, start: Start, cubes: tuple[str, ...]) -> list[_Planned]:
        kinds, strength, rng = config.active_kinds, config.strength, self._rng
        alone = bool(kinds) and config.name not in LEVELS
        planned = []

        def due() -> int:
            return start.go_step + int(rng.integers(_ONE_FIRST_STEP if alone else FIRST_STEP, strength.last_step))

        if "nudge" in kinds:
            for _ in range(rng.choice(len(strength.num_nudges), p=strength.num_nudges)):
                cube = str(rng.choice(cubes))
                planned.append(_Planned("nudge", due(), cube, rng.uniform(*config.nudge_range_m())))
        if "slip" in kinds and rng.random() < strength.slip:
            planned.append(_Planned("slip", int(rng.integers(10, 30)), str(rng.choice(cubes)), 0.0))
        if "push" in kinds and rng.random() < strength.push:
            side, angle = str(rng.choice(scene.SIDES, p=(0.25, 0.75))), float(rng.uniform(0, 2 * np.pi))
            planned.append(_Planned("push", due(), side, rng.uniform(*strength.push_n), angle))
        if "bin" in kinds and rng.random() < strength.bin:
            names = list(scene.BIN_CENTRES_M)
            wanted = start.bins[0] if start.bins and rng.random() < 0.6 else str(rng.choice(names))
            planned.append(_Planned("bin", due(), wanted, rng.uniform(*strength.bin_m), rng.choice([0.0, np.pi])))
        if "pictures" in kinds:
            self.brightness = 1 + float(rng.uniform(-strength.brightness, strength.brightness))
            self.camera_shift_m = rng.uniform(-strength.camera_m, strength.camera_m, 3)
        return planned

    def before_step(self, world: World, step: int) -> None:
        """Do to the world what is due.

        Args:
            world: Changed.
            step: Control steps done so far.
        """
        for cube in world.cubes:
            lifted = world.cube_height(cube) > 0.02 and any(world.holds(side, cube) for side in scene.SIDES)
            if not lifted:
                self._held_since.pop(cube, None)
            self._held_since.setdefault(cube, step) if lifted else None
        for planned in list(self._planned):
            if planned.begun is None and self._may_begin(planned, world, step):
                self._begin(planned, world, step)
            given_up = planned.begun is None and planned.kind != "slip" and step > planned.due + PATIENCE_STEPS
            if given_up or (planned.begun is not None and self._carry_on(planned, world)):
                self._planned.remove(planned)

    def _may_begin(self, planned: _Planned, world: World, step: int) -> bool:
        if planned.kind == "slip":
            since = self._held_since.get(planned.what)
            safe = bool(world.cube_position(planned.what)[0] > SAFE_X_M)
            return since is not None and step - since >= planned.due and safe
        if step < planned.due:
            return False
        if planned.kind != "nudge":
            return True
        cube = planned.what
        lies = world.cube_height(cube) < 0.005 and bool(world.cube_position(cube)[0] > SAFE_X_M)
        return lies and not any("/" in thing for thing in world.touching(cube))

    def _begin(self, planned: _Planned, world: World, step: int) -> None:
        planned.begun = step
        if planned.kind == "nudge":
            start = world.cube_position(planned.what)[:2]
            end = self._nudged(start, planned, world)
            planned.amount = float(np.linalg.norm(end - start))
            planned.course = _course(start, end)
        elif planned.kind == "bin":
            start = world.bin_position(planned.what)[:2]
            shift = planned.amount * np.array([np.cos(planned.angle_rad), 0.0])
            planned.course = _course(start, start + shift)
        elif planned.kind == "push":
            force = planned.amount * np.array([np.cos(planned.angle_rad), np.sin(planned.angle_rad), 0.0])
            planned.course = [force] * PUSH_STEPS
        else:
            planned.course = [np.zeros(3)] * SLIP_STEPS
            world.set_friction(planned.what, SLIPPERY)
        self.events.append(Event(planned.kind, step, planned.what, planned.amount))

    def _nudged(self, start: np.ndarray, planned: _Planned, world: World) -> np.ndarray:
        """Return where a hand puts a cube: that far away, on the free part of the table; as it is if that cannot be."""
        others = [world.cube_position(cube)[:2] for cube in world.cubes if cube != planned.what]
        for _ in range(60):
            angle = self._rng.uniform(0, 2 * np.pi)
            end = start + planned.amount * np.array([np.cos(angle), np.sin(angle)])
            inside = all(low <= value <= high for value, (low, high) in zip(end, CUBE_AREA_M, strict=True))
            if inside and all(np.linalg.norm(end - other) > 0.09 for other in others):
                return end
        return start

    def _carry_on(self, planned: _Planned, world: World) -> bool:
        """Do one control step's worth; return whether it is over."""
        if not planned.course:
            if planned.kind == "slip":
                world.set_friction(planned.what, None)
            if planned.kind == "push":
                world.push(planned.what, np.zeros(3))
            return True
        now = planned.course.pop(0)
        if planned.kind == "nudge":
            if any("/" in thing for thing in world.touching(planned.what)):  # the hand lets go when an arm comes
                return True
            world.move_cube(planned.what, now)
        elif planned.kind == "bin":
            world.move_bin(planned.what, now)
        elif planned.kind == "push":
            world.push(planned.what, now)
        return False


def _course(start: np.ndarray, end: np.ndarray) -> list[np.ndarray]:
    """Return positions on the way, one a control step, the start apart: smooth at both ends."""
    fractions = np.linspace(0, 1, MOVE_STEPS + 1)[1:]
    return [start + (3 - 2 * f) * f * f * (end - start) for f in fractions]
