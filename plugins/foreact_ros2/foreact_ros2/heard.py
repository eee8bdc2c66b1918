"""What was heard last: pictures of several cameras taken together, and joints told in several messages."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from foreact.errors import InputError

_FRAMES_KEPT = 8


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When something was measured, and when this was heard; by two clocks, since ROS time may jump or stand still."""

    stamp_s: float
    """ROS time at which it was measured."""
    arrived_s: float
    """Time at which it was heard, by a clock that only goes forward."""

    def age_s(self, now: "Moment") -> float:
        """Seconds since, by the clock that says more."""
        return max(now.stamp_s - self.stamp_s, now.arrived_s - self.arrived_s)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A picture."""

    moment: Moment
    image: np.ndarray
    """uint8 [height, width, 3], RGB."""


class Frames:
    """The last few pictures of every camera."""

    def __init__(self, cameras: Iterable[str], *, slop_s: float):
        """Have none; pictures within `slop_s` seconds count as taken together."""
        self._slop_s = slop_s
        self._kept: dict[str, deque[Frame]] = {camera: deque(maxlen=_FRAMES_KEPT) for camera in cameras}

    @property
    def unseen(self) -> list[str]:
        """Cameras that have sent nothing yet."""
        return [camera for camera, frames in self._kept.items() if not frames]

    def put(self, camera: str, frame: Frame) -> None:
        """Keep a picture.

        Raises:
            InputError: It is not newer than the camera's last.
        """
        kept = self._kept[camera]
        if kept and frame.moment.stamp_s <= kept[-1].moment.stamp_s:
            got, allowed = frame.moment.stamp_s, f"later than {kept[-1].moment.stamp_s}"
            raise InputError(f"time stamp of a picture of {camera!r}", got=got, allowed=allowed)
        kept.append(frame)

    def newest_set(self) -> dict[str, Frame] | None:
        """Return the newest pictures that were taken together, one of each camera; None if there are none.

        Of two sets the newer is that whose oldest picture is newer.
        """
        stamps = sorted((f.moment.stamp_s for frames in self._kept.values() for f in frames), reverse=True)
        for stamp_s in stamps:
            chosen = {camera: self._within(camera, stamp_s) for camera in self._kept}
            if all(chosen.values()):
                return {camera: frame for camera, frame in chosen.items() if frame}
        return None

    def _within(self, camera: str, stamp_s: float) -> Frame | None:
        end_s = stamp_s + self._slop_s
        return next((f for f in reversed(self._kept[camera]) if stamp_s <= f.moment.stamp_s <= end_s), None)


class Joints:
    """The last position of every joint, by name."""

    def __init__(self, names: Iterable[str]):
        """Have none."""
        self._wanted, self.others = set(names), set[str]()
        """Names heard that are not wanted: for the message about those that are missing."""
        self.positions: dict[str, float] = {}
        """Joint to position."""
        self.moments: dict[str, Moment] = {}
        """Joint to when that was."""

    @property
    def unheard(self) -> list[str]:
        """Joints of which nothing was told yet."""
        return sorted(self._wanted - self.positions.keys())

    def put(self, positions: dict[str, float], moment: Moment) -> None:
        """Keep those of them that are wanted, unless something newer is known."""
        self.others |= positions.keys() - self._wanted
        for name in self._wanted & positions.keys():
            if name not in self.moments or moment.stamp_s > self.moments[name].stamp_s:
                self.positions[name], self.moments[name] = positions[name], moment
