"""What an adapter says about its suite of tasks, before the simulator is imported."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol, runtime_checkable

import numpy as np

from foreact.environments.environment import Environment
from foreact.environments.protocols import EvaluationProtocol
from foreact.errors import UnknownNameError
from foreact.simulation.disturbances import UNDISTURBED, Disturbance


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a world is asked to be like."""

    protocol: EvaluationProtocol
    """How episodes are run and seen."""
    cameras: tuple[str, ...] | None = None
    """Which cameras take pictures; None: all that the suite has."""
    image_size: int | None = None
    """Height and width of the pictures in pixels; None: as the protocol says."""
    patience: float = 1.0
    """Multiples of the time limit after which an episode is cut off."""
    disturbance: Disturbance = UNDISTURBED
    """What goes wrong on the way; only our own scene knows of any."""

    def choose_cameras(self, known: Sequence[str]) -> tuple[str, ...]:
        """Return the cameras that were asked for, or all that are known.

        Raises:
            UnknownNameError: The world has no such camera.
        """
        for camera in self.cameras or ():
            if camera not in known:
                raise UnknownNameError("camera", camera, known)
        return tuple(known) if self.cameras is None else self.cameras

    def limit(self, task: str, own: int) -> int:
        """Return the control steps after which an episode of the task is cut off; `own` is the task's own limit."""
        return round(self.patience * self.protocol.limit(task, own))


@runtime_checkable
class Expert(Protocol):
    """A scripted demonstrator in one environment."""

    def act(self) -> np.ndarray:
        """Return the next action [dofs], given what the environment is like now."""
        ...


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A collection of tasks in one simulator, all for one robot."""

    name: str
    """The first part of its tasks' names."""
    make: Callable[[str, Request], Environment]
    """Builds the world of a task."""
    tasks: Callable[[], Sequence[str]]
    """Names of the tasks; may import the simulator."""
    protocols: tuple[str, ...]
    """Names of its protocols; the first is the default."""
    robot: str | None
    """Name of its robot's file; None: that depends on the task."""
    packages: tuple[str, ...]
    """Distributions whose versions decide what an episode is like."""
    extra: str | None = None
    """The extra of foreact that brings them; None: whoever names the task installs its package."""
    collection_protocol: str | None = None
    """Name of the protocol by which demonstrations are recorded; None: the default one."""
    make_expert: Callable[[Environment], Expert] | None = None
    """Builds the demonstrator of an environment at the start of an episode; None: there is none."""

    def versions(self) -> dict[str, str]:
        """Return the installed version of each package, "none" for one that is missing."""
        return {package: _version(package) for package in self.packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
