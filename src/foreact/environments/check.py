"""Whether a policy's robot is the robot of a world, asked before the first episode."""

from foreact.embodiments import Embodiment
from foreact.environments.environment import Environment
from foreact.environments.registry import find, make_environment, protocol_of
from foreact.errors import ConfigurationError, UnknownNameError
from foreact.simulation.disturbances import UNDISTURBED, Disturbance


def make_world(
    name: str,
    robot: Embodiment,
    *,
    image_size: int | None = None,
    protocol: str | None = None,
    patience: float = 1.0,
    disturbance: Disturbance = UNDISTURBED,
) -> Environment:
    """Build the world of a name for a robot, whose cameras take the pictures; the arguments are `make_environment`'s.

    Raises:
        UnknownNameError: There is no such suite, task or protocol.
        NotInstalledError: The simulator is not installed.
        ConfigurationError: The robot cannot act in this world, or the world cannot be disturbed.
    """
    suite, _ = find(name)
    protocol_of(suite, protocol)
    given = {"image_size": image_size, "protocol": protocol, "patience": patience, "disturbance": disturbance}
    try:
        env = make_environment(name, cameras=robot.cameras, **given)
    except UnknownNameError as error:  # of a camera: the other names are known
        cure = f"use a policy that was trained for {name}"
        raise ConfigurationError(f"robot {robot.name!r} in {name}", got=error, cure=cure) from error
    try:
        check_world(env, robot)
    except ConfigurationError:
        env.close()
        raise
    return env


def check_world(env: Environment, robot: Embodiment) -> None:
    """Refuse a world that the robot cannot act in: another number of actions, another rate, or cameras that lack.

    Raises:
        ConfigurationError: Saying what differs.
    """
    name = f"{env.suite}/{env.task_name}"
    cure = f"use a policy that was trained for {name}"
    num_dofs = int(env.action_space.shape[0])
    if num_dofs != robot.num_dofs:
        got = f"{robot.num_dofs} numbers an action ({', '.join(robot.dof_names)})"
        raise ConfigurationError(f"robot {robot.name!r} in {name}", got=got, allowed=f"{num_dofs}", cure=cure)
    if abs(env.control_hz - robot.timing.action_hz) > 1e-3 * env.control_hz:
        got = f"{robot.timing.action_hz:g} actions a second"
        raise ConfigurationError(
            f"robot {robot.name!r} in {name}", got=got, allowed=f"{env.control_hz:g}, as the world runs", cure=cure
        )
    if missing := [camera for camera in robot.cameras if camera not in env.cameras]:
        raise ConfigurationError(
            f"cameras of robot {robot.name!r} in {name}",
            got=", ".join(missing),
            allowed=", ".join(env.cameras),
            cure=cure,
        )
