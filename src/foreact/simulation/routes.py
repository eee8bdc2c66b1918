"""Smooth ways through waypoints, one for each arm, that an expert follows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foreact.simulation.kinematics import Pose, rotation_vector, turned


@dataclass(frozen=True, kw_only=True)
class Waypoint:
    """Where an arm shall be at a control step."""

    step: int
    """Control step."""
    pose: Pose
    """Where the tip is."""
    opening: float
    """Gripper opening in [0, 1]."""
    slack: float
    """How much disturbance the motion can take, in [0, 1]: 1 in the open, little where fingers must fit."""


class Route:
    """Waypoints in time; between them everything moves smoothly and stands still at both ends."""

    def __init__(self, start: Waypoint):
        """Begin somewhere."""
        self.waypoints = [start]

    @property
    def last(self) -> Waypoint:
        """The end so far."""
        return self.waypoints[-1]

    def go(
        self,
        num_steps: int,
        position: np.ndarray | Sequence[float | int] | None = None,
        rotation: np.ndarray | None = None,
        opening: float | None = None,
        slack: float = 1.0,
    ) -> "Route":
        """Add a waypoint `num_steps` later; what is not given stays as it was. Returns the route itself."""
        last = self.last
        pose = Pose(
            position=last.pose.position if position is None else np.asarray(position, dtype=float),
            rotation=last.pose.rotation if rotation is None else rotation,
        )
        opening = last.opening if opening is None else opening
        self.waypoints.append(Waypoint(step=last.step + num_steps, pose=pose, opening=opening, slack=slack))
        return self

    def wait_until(self, step: int, slack: float = 0.0) -> "Route":
        """Stay where it is until a control step, if that is later. Returns the route itself."""
        return self.go(step - self.last.step, slack=slack) if step > self.last.step else self

    def at(self, step: int) -> Waypoint:
        """Where to be at a control step; the end for good after the last."""
        following = next((i for i, waypoint in enumerate(self.waypoints) if waypoint.step > step), None)
        if following is None:
            return self.last
        end = self.waypoints[following]
        if following == 0:
            return end
        return _between(self.waypoints[following - 1], end, step)


def _between(start: Waypoint, end: Waypoint, step: int) -> Waypoint:
    fraction = (step - start.step) / (end.step - start.step)
    smooth = fraction * fraction * (3 - 2 * fraction)
    turn = rotation_vector(start.pose.rotation, end.pose.rotation)
    pose = Pose(
        position=start.pose.position + smooth * (end.pose.position - start.pose.position),
        rotation=turned(start.pose.rotation, smooth * turn),
    )
    return Waypoint(
        step=step,
        pose=pose,
        opening=start.opening + smooth * (end.opening - start.opening),
        slack=start.slack + smooth * (end.slack - start.slack),
    )
