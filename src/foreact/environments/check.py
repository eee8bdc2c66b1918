"""Whether a policy's robot is the robot of a world, asked before the first episode."""

from foreact.embodiments import Embodiment
from foreact.environments.environment import Environment
from foreact.errors import ConfigurationError


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
