"""What can be achieved in the scene: stages, and the conditions they are made of."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foreact.errors import ConfigurationError
from foreact.simulation.world import World

Condition = Callable[[World, tuple[str, ...]], bool]
"""Whether something holds now, given the world and the bins that the lamp asks for, in the cubes' order."""


NEAR_M, REACH_M = 0.10, 0.03
"""How near a tip is to a cube that it approaches, and to one that it has reached."""
LIFT_M = 0.08
"""How high above the table a lifted cube is."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One thing to have achieved; once achieved it counts for the whole episode."""

    name: str
    """What was achieved, for people."""
    condition: Condition
    """What must hold."""
    num_steps: int = 1
    """For how many control steps on end it must hold."""

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigurationError("Stage.num_steps", got=self.num_steps, allowed="1 or more")


def tip_within(side: str, distance_m: float, cube: str = "white") -> Condition:
    """The tip of an arm is nearer to the cube's centre than a distance."""
    return lambda world, _: bool(np.linalg.norm(world.tip_position(side) - world.cube_position(cube)) < distance_m)


def held(side: str, cube: str = "white") -> Condition:
    """Both fingers of an arm touch the cube."""
    return lambda world, _: world.holds(side, cube)


def raised(side: str, cube: str = "white") -> Condition:
    """An arm holds the cube LIFT_M above the table or higher."""
    return lambda world, _: world.holds(side, cube) and world.cube_height(cube) > LIFT_M


def held_alone(side: str, cube: str = "white") -> Condition:
    """Both fingers of an arm touch the cube, and nothing else does."""
    return lambda world, _: world.holds_alone(side, cube)


def above_bin(index: int, cube: str) -> Condition:
    """The left arm holds the cube over the bin that the lamp asked for, by the index of the cube."""
    return lambda world, bins: world.holds("left", cube) and world.is_above_bin(cube, bins[index])


def held_by_both(cube: str = "white") -> Condition:
    """All four fingers touch the cube."""
    return lambda world, _: world.holds("left", cube) and world.holds("right", cube)


def in_bin(index: int, cube: str) -> Condition:
    """The cube lies in the bin that the lamp asked for, by the index of the cube, and no arm touches it."""
    return lambda world, bins: world.lies_in_bin(cube, bins[index])


def all_in_bins(cubes: tuple[str, ...]) -> Condition:
    """Every cube lies in its bin."""
    return lambda world, bins: all(world.lies_in_bin(cube, bins[i]) for i, cube in enumerate(cubes))


def points_at_bin(side: str = "left") -> Condition:
    """The tip of an arm is over the middle of the first bin that the lamp asked for."""
    return lambda world, bins: world.points_at(side) == bins[0]


def points_at_any_bin(side: str = "left") -> Condition:
    """The tip of an arm is over the middle of a bin."""
    return lambda world, _: world.points_at(side) is not None


def points_at_another_bin(side: str = "left") -> Condition:
    """The tip of an arm is over the middle of a bin that the lamp did not ask for first."""
    return lambda world, bins: world.points_at(side) not in (None, bins[0])
