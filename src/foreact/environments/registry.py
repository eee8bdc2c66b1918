"""Worlds by name: `SUITE/TASK`, or `gym:PACKAGE/ID` for any environment that is registered with gymnasium.

Another package adds a suite with an entry point in the group `foreact.environments`: its name is the suite's, its value
a `foreact.environments.suites.Suite`.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points

from foreact.environments.environment import Environment
from foreact.environments.protocols import EvaluationProtocol, get_protocol
from foreact.environments.suites import Request, Suite
from foreact.errors import ConfigurationError, NotInstalledError, UnknownNameError
from foreact.simulation.disturbances import UNDISTURBED, Disturbance

GROUP = "foreact.environments"
OWN = "aloha"
"""The suite of a task that is named without one."""
GYM = "gym:"
"""Before the package and name of an environment that is registered with gymnasium."""

_BUILT_IN = {
    "aloha": "foreact.environments.aloha",
    "gym_aloha": "foreact.environments.gym_aloha",
    "libero": "foreact.environments.libero",
    "metaworld": "foreact.environments.metaworld",
}


def suite_names() -> tuple[str, ...]:
    """Return the names of all suites, those of other packages included, whether or not they can be used here."""
    return tuple(sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))}))


def get_suite(name: str) -> Suite:
    """Return the suite of that name.

    Raises:
        UnknownNameError: There is none; the message lists those there are.
        ConfigurationError: A package's entry point is no suite.
    """
    if name == GYM.rstrip(":"):
        return import_module("foreact.environments.registered").SUITE
    if name in _BUILT_IN:
        return import_module(_BUILT_IN[name]).SUITE
    for point in entry_points(group=GROUP):
        if point.name == name:
            suite = point.load()
            if not isinstance(suite, Suite):
                raise ConfigurationError(
                    f"entry point {name!r} of {GROUP}", got=type(suite).__name__, allowed="a Suite"
                )
            return suite
    raise UnknownNameError("suite of environments", name, (*suite_names(), "gym:PACKAGE/ID"))


def find(name: str) -> tuple[Suite, str]:
    """Return the suite and the task that a name means; a name without suite is one of our own tasks.

    Raises:
        UnknownNameError: There is no such suite or task.
        NotInstalledError: The simulator is not installed.
    """
    if name.startswith(GYM):
        return get_suite("gym"), name.removeprefix(GYM)
    suite_name, separator, task = name.partition("/")
    suite = get_suite(suite_name if separator else OWN)
    task = task if separator else name
    known = list_tasks(suite)
    if task not in known:
        raise UnknownNameError("task" if suite.name == OWN else f"task of {suite.name}", task, known)
    return suite, task


def list_tasks(suite: Suite) -> Sequence[str]:
    """Return the names of a suite's tasks.

    Raises:
        NotInstalledError: The simulator is not installed.
    """
    try:
        return suite.tasks()
    except ModuleNotFoundError as error:
        raise _missing(suite, error) from error


def make_environment(
    name: str,
    *,
    cameras: Sequence[str] | None = None,
    image_size: int | None = None,
    protocol: str | None = None,
    patience: float = 1.0,
    disturbance: Disturbance = UNDISTURBED,
) -> Environment:
    """Build the world of a name.

    Args:
        name: `SUITE/TASK`, a task of ours, or `gym:PACKAGE/ID`.
        cameras: Which cameras take pictures; None: all that the suite has.
        image_size: Height and width of the pictures in pixels; None: as the protocol says.
        protocol: Name of the protocol; None: the suite's first.
        patience: Multiples of the time limit after which an episode is cut off.
        disturbance: What goes wrong on the way, in our own scene.

    Raises:
        UnknownNameError: There is no such suite, task, camera or protocol.
        NotInstalledError: The simulator is not installed.
        ConfigurationError: Another world than our own was to be disturbed.
    """
    suite, task = find(name)
    if not disturbance.is_none and suite.name != OWN:
        raise ConfigurationError(f"disturbance in {name}", got=disturbance.describe(), allowed="none in this world")
    request = Request(
        protocol=protocol_of(suite, protocol),
        cameras=None if cameras is None else tuple(cameras),
        image_size=image_size,
        patience=patience,
        disturbance=disturbance,
    )
    try:
        return suite.make(task, request)
    except ModuleNotFoundError as error:
        raise _missing(suite, error) from error


def protocol_of(suite: Suite, name: str | None) -> EvaluationProtocol:
    """Return a suite's protocol by name; None: its first.

    Raises:
        UnknownNameError: The suite has no such protocol.
    """
    return get_protocol(suite.protocols[0] if name is None else name, suite.name, suite.protocols)


def _missing(suite: Suite, error: ModuleNotFoundError) -> NotInstalledError:
    what = f"environments of {suite.name}"
    package = (error.name or "a package").partition(".")[0]
    if suite.extra is None:  # the package is the user's own choice, so no extra of ours brings it
        return NotInstalledError(what, missing=package, cure=f"pip install {package}")
    return NotInstalledError(what, missing=package, extra=suite.extra)
