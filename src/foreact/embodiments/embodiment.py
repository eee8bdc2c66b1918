"""A robot as data, compiled to the universal action space."""

import tomllib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from foreact.embodiments.actions import CHANNEL_NAMES, GRIPPER, NUM_CHANNELS, check_finite
from foreact.embodiments.arms import Arm
from foreact.embodiments.cameras import CameraLayout
from foreact.embodiments.timing import Timing
from foreact.errors import ConfigurationError, InputError, UnknownNameError
from foreact.settings import from_plain, list_builder, to_plain


@dataclass(frozen=True, kw_only=True)
class Dof:
    """One entry of the robot's action vector."""

    name: str
    """What the entry moves."""
    unit: str = ""
    """Unit of the entry, for people."""
    low: float | None = None
    """Least safe action, in the robot's units; None: unbounded."""
    high: float | None = None
    """Greatest safe action, in the robot's units; None: unbounded."""
    velocity: float | None = None
    """Most change of the action per second, in the robot's units; None: unknown."""
    acceleration: float | None = None
    """Most change of that velocity per second; None: unknown."""

    def __post_init__(self) -> None:
        for name in ("velocity", "acceleration"):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value > 0):
                raise ConfigurationError(f"{name} of {self.name!r}", got=value, allowed="a finite number above 0")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ConfigurationError(f"limits of {self.name!r}", got=f"{self.low} to {self.high}", allowed="low < high")


@dataclass(frozen=True, kw_only=True)
class Embodiment:
    """A robot: its action vector, arms, cameras and rates. A checkpoint stores it whole."""

    name: str
    """Short name, as in a file name."""
    description: str
    """One sentence for people."""
    dofs: tuple[Dof, ...]
    """The entries of the action vector, in order."""
    arms: tuple[Arm, ...] = ()
    """One or two arms; together they own every entry of the action vector, each once."""
    channels: tuple[int, ...] = ()
    """Instead of arms: the universal channel of each entry, which holds its number unconverted. For published weights
    that were trained on a controller's raw numbers."""
    layout: CameraLayout
    """The cameras and where they lie on the latent canvas."""
    timing: Timing
    """Rates and counts."""
    state_names: tuple[str, ...] = ()
    """The entries of the state vector, in order; empty: those of the action vector, in the same units."""

    def __post_init__(self) -> None:
        names = self.dof_names
        if not names or len(set(names)) < len(names):
            raise ConfigurationError(f"dofs of {self.name!r}", got=names, allowed="one or more, all different")
        if len({arm.side for arm in self.arms}) < len(self.arms):
            sides = [arm.side for arm in self.arms]
            raise ConfigurationError(f"arms of {self.name!r}", got=sides, allowed="at most one on each side")
        if self.channels:
            self._check_channels()
        else:
            self._check_entries()
        self._check_state_entries()

    def _check_channels(self) -> None:
        if self.arms:
            raise ConfigurationError(
                f"channels of {self.name!r}", got="arms as well", allowed="either arms or channels"
            )
        distinct = set(self.channels) & set(range(NUM_CHANNELS))
        if not len(distinct) == len(self.channels) == self.num_dofs:
            raise ConfigurationError(
                f"channels of {self.name!r}",
                got=list(self.channels),
                allowed=f"{self.num_dofs} different ones of 0 to {NUM_CHANNELS - 1}, one per dof",
            )

    def _check_entries(self) -> None:
        owned = [entry for arm in self.arms for entry in arm.entries]
        owned += [arm.gripper.entry for arm in self.arms if arm.gripper is not None]
        if sorted(owned) != list(range(self.num_dofs)):
            raise ConfigurationError(
                f"entries of the arms of {self.name!r}",
                got=sorted(owned),
                allowed=f"each of 0 to {self.num_dofs - 1} once",
                cure="list every dof in one arm's entries or as its gripper",
            )

    def _check_state_entries(self) -> None:
        for arm in self.arms:
            entries = [] if arm.representation == "delta" else list(arm.entries)
            entries += [] if arm.gripper is None else [arm.gripper.state_index]
            if wrong := [entry for entry in entries if not 0 <= entry < self.num_state_entries]:
                raise ConfigurationError(
                    f"state entries of the {arm.side} arm of {self.name!r}",
                    got=wrong,
                    allowed=f"0 to {self.num_state_entries - 1}",
                    cure="declare state_names, and the gripper's state_entry",
                )

    @property
    def num_dofs(self) -> int:
        """Entries of the action vector."""
        return len(self.dofs)

    @property
    def dof_names(self) -> tuple[str, ...]:
        """Names of the action vector's entries."""
        return tuple(dof.name for dof in self.dofs)

    @property
    def num_state_entries(self) -> int:
        """Entries of the state vector."""
        return len(self.state_names) or self.num_dofs

    @property
    def cameras(self) -> tuple[str, ...]:
        """Camera names, in the layout's order."""
        return self.layout.cameras

    @property
    def needs_initial_pose(self) -> bool:
        """Whether `to_universal` and `from_universal` need the episode's first pose."""
        return any(arm.representation == "relative" for arm in self.arms)

    @cached_property
    def channel_mask(self) -> Bool[np.ndarray, "30"]:
        """Which universal channels this robot has (read-only)."""
        mask = np.zeros(NUM_CHANNELS, dtype=bool)
        mask[list(self.channels)] = True
        for arm in self.arms:
            mask[arm.channels] = True
            if arm.gripper is not None:
                mask[GRIPPER[arm.side]] = True
        mask.flags.writeable = False
        return mask

    @cached_property
    def limits(self) -> tuple[Float[np.ndarray, " dofs"], Float[np.ndarray, " dofs"]]:
        """Least and greatest safe action; infinite where unbounded (read-only)."""
        low = np.array([-np.inf if dof.low is None else dof.low for dof in self.dofs])
        high = np.array([np.inf if dof.high is None else dof.high for dof in self.dofs])
        low.flags.writeable = high.flags.writeable = False
        return low, high

    @cached_property
    def unlimited_dofs(self) -> tuple[str, ...]:
        """Names of the entries for which the robot does not say how far, how fast and how suddenly they may go.

        A position needs all four numbers; for an increment the range alone says how fast.
        """
        increments = {entry for arm in self.arms if arm.representation == "delta" for entry in arm.entries}
        increments |= {arm.gripper.entry for arm in self.arms if arm.gripper and arm.representation == "delta"}
        needed = {True: ("low", "high"), False: ("low", "high", "velocity", "acceleration")}
        return tuple(
            dof.name
            for entry, dof in enumerate(self.dofs)
            if None in (getattr(dof, name) for name in needed[entry in increments])
        )

    def check_actions(self, actions: np.ndarray) -> None:
        """Refuse actions that are not finite numbers [time, num_dofs].

        Raises:
            InputError: Naming the degree of freedom.
        """
        check_finite(f"actions of {self.name!r}", actions, self.dof_names)

    def clip_actions(self, actions: np.ndarray) -> np.ndarray:
        """The actions [..., num_dofs] kept within the limits, same dtype."""
        return np.clip(actions, *self.limits).astype(np.asarray(actions).dtype)

    def to_universal(self, actions: np.ndarray, initial_pose: np.ndarray | None = None) -> Float[np.ndarray, "time 30"]:
        """Universal actions, float64; channels the robot lacks are 0.

        Args:
            actions: [time, num_dofs], the robot's own units.
            initial_pose: [num_dofs], where the robot was when the episode began, in the order and units of
                its actions; only `relative` arms need it.

        Raises:
            InputError: Bad actions or pose, or no pose for a relative arm.
        """
        own = check_finite(f"actions of {self.name!r}", actions, self.dof_names)
        initial = self._check_initial_pose(initial_pose)
        universal = np.zeros((len(own), NUM_CHANNELS))
        universal[:, self.channels] = own[:, : len(self.channels)]
        for arm in self.arms:
            universal[:, arm.channels] = arm.to_channels(own, initial)
            if arm.gripper is not None:
                universal[:, GRIPPER[arm.side]] = arm.gripper.opening(own)
        return universal

    def from_universal(
        self, universal: np.ndarray, initial_pose: np.ndarray | None = None
    ) -> Float[np.ndarray, "time dofs"]:
        """The robot's own actions, float64: the inverse of `to_universal`.

        Args:
            universal: [time, 30]; channels the robot lacks are ignored.
            initial_pose: As for `to_universal`.

        Raises:
            InputError: Not finite numbers, a quaternion of length zero, or no pose for a relative arm.
        """
        values = check_finite("universal actions", universal, CHANNEL_NAMES)
        initial = self._check_initial_pose(initial_pose)
        own = np.zeros((len(values), self.num_dofs))
        own[:, : len(self.channels)] = values[:, self.channels]
        for arm in self.arms:
            own[:, arm.entries] = arm.from_channels(values[:, arm.channels], initial)
            if arm.gripper is not None:
                own[:, arm.gripper.entry] = arm.gripper.action(values[:, GRIPPER[arm.side]])
        return own

    def hold_action(self, state: np.ndarray) -> Float[np.ndarray, " dofs"]:
        """The action [num_dofs] that means "stay where you are".

        Joints and poses stay at the present state, increments are zero; grippers keep their opening.

        Args:
            state: [num_state_entries], the robot's own units.

        Raises:
            InputError: Not finite numbers of that shape.
            ConfigurationError: The robot is described by channels: nobody knows what its numbers mean.
        """
        if self.channels:
            raise ConfigurationError(
                f'the action of {self.name!r} that means "stay where you are"',
                got="raw numbers in given channels",
                allowed="a robot described by arms",
                cure='describe its arms, or begin as published weights do, with first_frame = "chunk" for inference',
            )
        names = self.state_names or self.dof_names
        if np.shape(state) != (len(names),):
            allowed = f"[{len(names)}]: {', '.join(names)}"
            raise InputError(f"state of {self.name!r}", got=f"shape {list(np.shape(state))}", allowed=allowed)
        checked = check_finite(f"state of {self.name!r}", np.asarray(state)[None], names)[0]
        action = np.zeros(self.num_dofs, dtype=np.result_type(np.asarray(state).dtype, np.float32))
        for arm in self.arms:
            action[list(arm.entries)] = arm.hold(checked)
            if arm.gripper is not None:
                action[arm.gripper.entry] = arm.gripper.hold(checked)
        return action

    def _check_initial_pose(self, initial_pose: np.ndarray | None) -> np.ndarray | None:
        if not self.needs_initial_pose:
            return None
        if initial_pose is None:
            raise InputError(
                f"initial pose of {self.name!r}",
                got="none",
                allowed=f"numbers [{self.num_dofs}]",
                cure="pass the pose at the beginning of the episode: this robot's actions are relative to it",
            )
        return check_finite(f"initial pose of {self.name!r}", np.asarray(initial_pose)[None], self.dof_names)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = {**to_plain(self), "layout": self.layout.to_dict()}
        return plain if self.channels else {key: value for key, value in plain.items() if key != "channels"}

    @classmethod
    def from_dict(cls, data: Any) -> "Embodiment":
        """The inverse of `to_dict`; unknown keys are errors."""
        return from_plain(
            cls,
            data,
            "embodiment",
            dofs=list_builder("dofs", lambda table: from_plain(Dof, table, "dof")),
            arms=list_builder("arms", Arm.from_dict),
            layout=CameraLayout.from_dict,
            timing=Timing.from_dict,
        )


def embodiment_names() -> tuple[str, ...]:
    """The robots that ship with the package."""
    robots = files("foreact.embodiments") / "robots"
    return tuple(sorted(entry.name[:-5] for entry in robots.iterdir() if entry.name.endswith(".toml")))


def load_embodiment(name_or_path: str | Path) -> Embodiment:
    """A robot by built-in name, or from a TOML file.

    Raises:
        UnknownNameError: No such built-in robot; the message lists them.
        ConfigurationError: A file that does not exist, is no TOML, or describes no possible robot.
    """
    if isinstance(name_or_path, str) and not name_or_path.endswith(".toml"):
        if name_or_path not in embodiment_names():
            raise UnknownNameError("embodiment", name_or_path, (*embodiment_names(), "a path to a .toml file"))
        source = files("foreact.embodiments") / "robots" / f"{name_or_path}.toml"
    else:
        source = Path(name_or_path)
    try:
        return Embodiment.from_dict(tomllib.loads(source.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(
            f"embodiment file {name_or_path}", got=error.strerror, cure="check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"embodiment file {name_or_path}", got=error, allowed="TOML text") from error
