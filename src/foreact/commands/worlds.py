"""Which world a command runs in: `--task` for one of our own tasks, `--env` for any world by name."""

from collections.abc import Mapping
from typing import Any

from foreact.environments.protocols import PROTOCOLS
from foreact.environments.registry import find
from foreact.errors import ConfigurationError
from foreact.simulation.tasks import TASKS

WORLD_NAMES = ("aloha/TASK", "metaworld/NAME-v3", "gym_aloha/ID", "libero/SUITE", "gym:PACKAGE/ID")
"""Forms of a world's name, for the help."""


def name_world(env: str | None, task: str | None) -> str:
    """Return the name of the world that was asked for.

    `--env libero/object --task 3` is `libero/object/3`, `--env aloha --task lift_cube` is `aloha/lift_cube`.

    Raises:
        ConfigurationError: Neither was given.
        UnknownNameError: There is no such suite or task.
        NotInstalledError: The simulator is not installed.
    """
    if env is None and task is None:
        allowed = f"--task with one of {', '.join(TASKS)}, or --env with {', '.join(WORLD_NAMES)}"
        raise ConfigurationError("world", got="neither --task nor --env", allowed=allowed)
    name = "/".join(part for part in (env, task) if part is not None)
    if env is not None and "/" not in name:  # a suite alone: the message lists its tasks
        name += "/"
    find(name)
    return name


def describe_protocol(summary: Mapping[str, Any]) -> str:
    """Return the protocol of an evaluation and the versions it ran with; versions unlike the protocol's are marked."""
    reference = PROTOCOLS[summary["protocol"]].reference_versions
    versions = [
        f"{name} {version}"
        + (f" (published figures: {reference[name]})" if reference.get(name, version) != version else "")
        for name, version in summary["versions"].items()
    ]
    return f"{summary['protocol']}; {', '.join(versions)}"
