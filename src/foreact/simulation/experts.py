"""Scripted experts: they see the true state, plan a way, look whether it still leads there, and plan again if not."""

from dataclasses import replace

import numpy as np

from foreact.errors import SimulationError
from foreact.simulation import scene
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.kinematics import ArmKinematics
from foreact.simulation.plans import Plan, get_plan, standing
from foreact.simulation.routes import Route, Waypoint

REACTION_STEPS = 6
"""Control steps from a surprise to a new plan: 120 ms, quicker than a person."""
STILL_M = 0.001
"""A cube that moves less than this in a control step lies still."""
MISS_M = (0.03, 0.05)
"""How far from the cube a missed grasp is aimed: beyond half of the cube, so that the fingers close next to it."""
MISS_STREAM = 3
"""Sets the draw of a missed grasp apart from those of the episode's start and disturbances."""


class Expert:
    """Solves one episode, however often it has to begin anew; call `act` once a step, before the step."""

    def __init__(self, env: BimanualEnv, *, miss_probability: float = 0.0):
        """Look at the episode that begins.

        Args:
            env: Just reset.
            miss_probability: Of the first grasp being aimed next to the cube: demonstrations then show how one
                notices, and what to do.

        Raises:
            SimulationError: The environment was not reset.
        """
        if env.start is None:
            raise SimulationError("expert before reset", cure="call env.reset(seed=...) first")
        self._env, self._start, self._world = env, env.start, env.world
        self._make_plan = get_plan(env.task.name)
        self._arms: dict[str, ArmKinematics] = {side: ArmKinematics(env.world.model, side) for side in scene.SIDES}
        angles = env.world.measured().astype(float).reshape(2, 7)[:, :6]
        self._angles: dict[str, np.ndarray] = dict(zip(scene.SIDES, angles, strict=True))
        self._targets: dict[str, Waypoint] = standing(env.world, env.num_steps)
        self._rest = dict(self._targets)
        self._miss_m = _draw_miss(env, miss_probability)
        self._wrong_since: int | None = None
        self._cubes_before = self._cube_positions()
        self.num_plans = 0
        """Plans made so far: one, and one more for every surprise."""
        self._plan = self._planned(is_first=True)

    @property
    def done(self) -> bool:
        """Whether the plan has ended as it should; `act` then keeps the arms where they are."""
        return self._env.num_steps >= self._plan.end_step and self._succeeded

    @property
    def slack(self) -> np.ndarray:
        """[2], left and right, in [0, 1]: the noise that the coming step can take; 0 for an arm at rest."""
        step = self._env.num_steps + 1
        return np.array([self._plan.routes[side].at(step).slack for side in scene.SIDES])

    def act(self) -> np.ndarray:
        """float32 [14]: where the arms should be after the coming step; the label of this step."""
        step = self._env.num_steps
        if self._must_look_again(step):
            self._plan = self._planned(is_first=False)
        elif step >= self._plan.end_step and not self._succeeded:
            self._plan = self._planned(is_first=self._is_waiting)
        return np.concatenate([self._arm_target(side, step + 1) for side in scene.SIDES]).astype(np.float32)

    @property
    def _succeeded(self) -> bool:
        return self._env.succeeded

    @property
    def _is_waiting(self) -> bool:
        """Whether the plan that ended only waited for the light: the arms have not moved yet."""
        return all(len({w.opening for w in route.waypoints}) == 1 for route in self._plan.routes.values()) and all(
            np.array_equal(route.last.pose.position, route.waypoints[0].pose.position)
            for route in self._plan.routes.values()
        )

    def _planned(self, *, is_first: bool) -> Plan:
        """Return a plan for the world as it is now, from where the arms were sent last.

        From there rather than from where they are: an arm that was pushed comes back, labels never jump, and a gripper
        that presses on a cube goes on pressing.
        """
        miss, self._wrong_since = (self._miss_m if is_first else np.zeros(3)), None
        routes = {
            side: Route(replace(target, step=self._env.num_steps, slack=0.0)) for side, target in self._targets.items()
        }
        plan = Plan(routes, self._rest, miss_m=miss, is_first=is_first)
        self._make_plan(self._world, self._start, plan)
        self.num_plans += 0 if is_first and self.num_plans else 1
        return plan

    def _must_look_again(self, step: int) -> bool:
        """Whether something has been wrong for as long as it takes to react, and the cubes lie still again."""
        cubes, before = self._cube_positions(), self._cubes_before
        self._cubes_before = cubes
        if not self._plan.is_broken(self._world, step) or self._succeeded:
            self._wrong_since = None
            return False
        self._wrong_since = step if self._wrong_since is None else self._wrong_since
        held = any(self._world.holds(side, cube) for side in scene.SIDES for cube in self._world.cubes)
        still = bool(np.abs(cubes - before).max() < STILL_M)
        return step - self._wrong_since >= REACTION_STEPS and (still or held)

    def _cube_positions(self) -> np.ndarray:
        return np.stack([self._world.cube_position(cube) for cube in self._world.cubes])

    def _arm_target(self, side: str, step: int) -> np.ndarray:
        target = self._targets[side] = self._plan.routes[side].at(step)
        self._angles[side] = self._arms[side].solve(self._angles[side], target.pose)
        return np.append(self._angles[side], target.opening)


def make_expert(env: BimanualEnv, *, miss_probability: float = 0.0) -> Expert:
    """Return an expert for the environment's task and the episode that was just reset; see `Expert`."""
    return Expert(env, miss_probability=miss_probability)


def _draw_miss(env: BimanualEnv, probability: float) -> np.ndarray:
    rng = np.random.default_rng([env.start_seed, MISS_STREAM])
    if rng.random() >= probability:
        return np.zeros(3)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(*MISS_M)
    return distance * np.array([np.cos(angle), np.sin(angle), 0.0])
