"""A robot made of topics: what was heard last is what it observes, and its commands are sent. No ROS in here."""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from foreact.control.clock import Clock
from foreact.control.emergency import EmergencyStop
from foreact.errors import ForeactError, InputError
from foreact.types import Observation
from foreact_ros2.heard import Frame, Frames, Joints, Moment
from foreact_ros2.messages import read_compressed, read_image, read_joints, read_stamp
from foreact_ros2.settings import BridgeSettings

_LOOK_S = 0.02
"""Seconds between looks at whether everything is there."""


class StaleError(ForeactError):
    """Something that a robot needs was not heard, or too long ago."""


class TopicsRobot:
    """A `Robot`. Messages come from any thread; `observe` and `act` never wait.

    Stale pictures or joints end a run: `observe` raises, and `act` throws the emergency switch, so that the loop brings
    the robot to rest within its limits and holds it.
    """

    done = False
    """A run is ended by its emergency switch alone: so the robot is always brought to rest."""

    def __init__(
        self,
        settings: BridgeSettings,
        *,
        ros_now: Callable[[], float],
        clock: Clock,
        send: Callable[[Mapping[str, float]], None],
    ):
        """Have heard nothing.

        Args:
            settings: Which cameras and joints, and how old what they say may be.
            ros_now: Returns ROS time in seconds.
            clock: The control loop's.
            send: Publishes joint name to position; called by the control loop at every tick.
        """
        self._settings, self._ros_now, self._clock, self._send = settings, ros_now, clock, send
        self._lock = Lock()
        self._frames = Frames([camera.name for camera in settings.cameras], slop_s=settings.slop_s)
        self._joints = Joints([joint.joint for joint in settings.joints])
        self._compressed = {camera.name: camera.compressed for camera in settings.cameras}
        self._released: Moment | None = None
        self._order = settings.joints
        self._scale, self._offset, self._following = self._units()
        self._emergency, self._start_s = EmergencyStop(), 0.0
        self._command: np.ndarray | None = None

    def see(self, camera: str, message: Any) -> None:
        """Take in a picture.

        Raises:
            InputError: It cannot be used, and was not kept.
        """
        moment = self._moment(message, f"a picture of {camera!r}")
        image = read_compressed(message) if self._compressed[camera] else read_image(message)
        with self._lock:
            self._frames.put(camera, Frame(moment=moment, image=image))

    def feel(self, message: Any) -> None:
        """Take in joint positions.

        Raises:
            InputError: They cannot be used, and were not kept.
        """
        positions = read_joints(message)
        if not positions:
            return
        moment = self._moment(message, "a joint state")
        with self._lock:
            self._joints.put(positions, moment)

    def hear_release(self) -> None:
        """Note that the emergency stop was heard, and is not pressed."""
        with self._lock:
            self._released = self._now()

    def begin(self, actions: Sequence[str], emergency: EmergencyStop) -> None:
        """Begin a run.

        Args:
            actions: Names of an action's entries, in the policy's order: those of the settings.
            emergency: The run's switch.
        """
        joints = {joint.action: joint for joint in self._settings.joints}
        with self._lock:
            self._order = tuple(joints[action] for action in actions)
            self._scale, self._offset, self._following = self._units()
            self._emergency, self._start_s, self._command = emergency, self._clock.now(), None

    def wait(self) -> None:
        """Return once everything is heard and fresh, or the run was stopped.

        Raises:
            StaleError: That takes too long.
        """
        end_s = self._clock.now() + self._settings.wait_s
        while (complaints := self.complaints()) and self._emergency.reason is None:
            if self._clock.now() >= end_s:
                raise StaleError("cannot begin", got="; ".join(complaints), cure="see that the drivers run")
            self._clock.sleep_until(self._clock.now() + _LOOK_S)

    def complaints(self) -> list[str]:
        """Return what is missing or too old, in words."""
        with self._lock:
            return self._complaints()

    @property
    def state(self) -> np.ndarray:
        """Where the joints are, float32 [num_dofs], in the policy's order and units."""
        with self._lock:
            if unheard := self._joints.unheard:
                raise StaleError(f"joints {', '.join(unheard)}", got="nothing was heard of them")
            return self._state()

    def observe(self) -> Observation:
        """Return the newest pictures that were taken together, and where the joints are now.

        Raises:
            StaleError: Something is missing or too old.
        """
        with self._lock:
            complaints, frames = self._complaints(), self._frames.newest_set()
            if complaints or frames is None:
                raise StaleError("cannot observe", got="; ".join(complaints))
            images = {camera: frame.image for camera, frame in frames.items()}
            return Observation(images=images, state=self._state(), time_s=self._clock.now() - self._start_s)

    def act(self, action: np.ndarray) -> None:
        """Send a command; stop the run if it cannot go on."""
        with self._lock:
            complaints = self._complaints() + self._strayed() + self._overtime()
            self._command = np.asarray(action, np.float32)
            positions = self._scale * action + self._offset
        if complaints:
            self._emergency.stop("; ".join(complaints))
        names = (joint.joint for joint in self._order)
        self._send(dict(zip(names, positions.tolist(), strict=True)))

    def _complaints(self) -> list[str]:
        """What is missing or too old, in words."""
        now, limits = self._now(), self._settings
        complaints = [f"camera {camera!r} was never heard" for camera in self._frames.unseen]
        frames = self._frames.newest_set()
        if not complaints and frames is None:
            complaints.append(f"no pictures of all cameras within {limits.slop_s:g} s")
        for camera, frame in (frames or {}).items():
            complaints += _old(f"camera {camera!r}", frame.moment, now, limits.image_age_s)
        if unheard := self._joints.unheard:
            others = f" (heard of: {', '.join(sorted(self._joints.others)[:8])})" if self._joints.others else ""
            complaints.append(f"joints {', '.join(unheard)} were never heard of{others}")
        for joint, moment in self._joints.moments.items():
            complaints += _old(f"joint {joint!r}", moment, now, limits.joint_age_s)
        if limits.emergency_age_s and self._released is None:
            complaints.append("the emergency stop was never heard")
        elif limits.emergency_age_s and self._released:
            complaints += _old("the emergency stop", self._released, now, limits.emergency_age_s)
        return complaints

    def _strayed(self) -> list[str]:
        """Joints that do not follow their commands; what holds them back may let go."""
        if self._command is None or self._joints.unheard:
            return []
        away = np.abs(self._state() - self._command)
        return [
            f"{joint.joint!r} is {distance:.3g} from its command, allowed is {joint.following:g}"
            for joint, distance in zip(self._order, away, strict=True)
            if distance > joint.following
        ]

    def _overtime(self) -> list[str]:
        run_s = self._settings.run_s
        return ["the time of the run is over"] if run_s and self._clock.now() - self._start_s >= run_s else []

    def _state(self) -> np.ndarray:
        positions = np.array([self._joints.positions[joint.joint] for joint in self._order])
        return ((positions - self._offset) / self._scale).astype(np.float32)

    def _units(self) -> tuple[np.ndarray, ...]:
        return tuple(np.array([getattr(j, n) for j in self._order]) for n in ("scale", "offset", "following"))

    def _now(self) -> Moment:
        return Moment(stamp_s=self._ros_now(), arrived_s=self._clock.now())

    def _moment(self, message: Any, what: str) -> Moment:
        now, stamp_s = self._now(), read_stamp(message.header)
        if stamp_s > now.stamp_s + self._settings.future_s:
            got, cure = f"{stamp_s - now.stamp_s:.3g} s ahead of this machine's clock", "synchronise the clocks"
            raise InputError(f"time stamp of {what}", got=got, allowed=f"{self._settings.future_s:g} s", cure=cure)
        return Moment(stamp_s=stamp_s, arrived_s=now.arrived_s)


def _old(what: str, moment: Moment, now: Moment, limit_s: float) -> list[str]:
    age_s = moment.age_s(now)
    return [f"{what} is {age_s:.3g} s old, allowed is {limit_s:g} s"] if age_s > limit_s else []
