"""Scripted experts: they see the true state, plan a way, and label each step with where the arms should be."""

import numpy as np

from foreact.errors import SimulationError
from foreact.simulation import scene
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.kinematics import ArmKinematics
from foreact.simulation.plans import get_plan, start_routes


class Expert:
    """Follows a plan for one episode; call `act` once a step, before the step."""

    def __init__(self, env: BimanualEnv):
        """Plan for the episode that begins.

        Raises:
            SimulationError: The environment was not reset.
        """
        if env.start is None:
            raise SimulationError("expert before reset", cure="call env.reset(seed=...) first")
        self._env, self._start, self._world = env, env.start, env.world
        self._plan = get_plan(env.task.name)
        self._arms: dict[str, ArmKinematics] = {side: ArmKinematics(env.world.model, side) for side in scene.SIDES}
        angles = env.world.measured().astype(float).reshape(2, 7)[:, :6]
        self._angles: dict[str, np.ndarray] = dict(zip(scene.SIDES, angles, strict=True))
        self._routes = start_routes(env.world, env.num_steps)
        self._num_planned = 0

    @property
    def done(self) -> bool:
        """Whether the plan has ended; `act` then keeps the arms where they are."""
        return self._num_planned == self._env.task.num_cubes and self._env.num_steps >= self._end_step

    @property
    def slack(self) -> np.ndarray:
        """[2], left and right, in [0, 1]: the disturbance the coming step can take; 0 for an arm at rest."""
        step = self._env.num_steps + 1
        return np.array([self._routes[side].at(step).slack for side in scene.SIDES])

    def act(self) -> np.ndarray:
        """float32 [14]: where the arms should be after the coming step; the label of this step."""
        step = self._env.num_steps
        if self._num_planned < self._env.task.num_cubes and step >= self._end_step:
            self._plan(self._world, self._start, self._routes, self._num_planned)
            self._num_planned += 1
        return np.concatenate([self._arm_target(side, step + 1) for side in scene.SIDES]).astype(np.float32)

    @property
    def _end_step(self) -> int:
        return max(route.last.step for route in self._routes.values())

    def _arm_target(self, side: str, step: int) -> np.ndarray:
        target = self._routes[side].at(step)
        self._angles[side] = self._arms[side].solve(self._angles[side], target.pose)
        return np.append(self._angles[side], target.opening)


def make_expert(env: BimanualEnv) -> Expert:
    """An expert for the environment's task and the episode that was just reset."""
    return Expert(env)
