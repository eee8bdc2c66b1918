"""What goes wrong in an episode, as settings of the commands that run episodes in simulation."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import OmitArgPrefixes

from foreact.commands.options import named
from foreact.simulation.disturbances import KINDS, NAMES, PHYSICAL, Disturbance


@dataclass(frozen=True, kw_only=True)
class DisturbanceOptions:
    """What goes wrong without the robot's doing; drawn from an episode's seed, so it can be repeated."""

    disturbance: Annotated[str, named(NAMES)] = "none"
    """A level (none, mild, strong), at which any number of things may happen.

    Or one kind of event, which then happens once in every episode:
    - nudge: a hand moves the cube.
    - slip: the cube slips out of the gripper.
    - push: on an arm.
    - bin: a bin is moved.
    - pictures: another brightness, and cameras shifted by up to a centimetre.
    """
    disturbance_kinds: tuple[Annotated[str, named(KINDS)], ...] = PHYSICAL
    """Of a level: the kinds of event that it draws from."""
    nudge_cm: float | None = None
    """How far a nudged cube is moved; by default as the level draws it, or 5."""

    def disturbance_of_episodes(self) -> Disturbance:
        """Return what the simulated world is given.

        Raises:
            ConfigurationError: There is no such level or kind, or a nudge cannot be that long.
        """
        return Disturbance(name=self.disturbance, kinds=self.disturbance_kinds, nudge_cm=self.nudge_cm)


Disturbing = OmitArgPrefixes[DisturbanceOptions]
