"""A scripted demonstrator for LIBERO's tasks of putting one object into the basket or onto the plate.

It knows where things are, moves the hand in straight lines, and never turns it.
"""

from typing import Any

import numpy as np

from foreact.errors import ConfigurationError

OPEN, CLOSED = -1.0, 1.0
POSITION_UNIT_M = 0.05
"""What the controller makes of 1 in one control step."""
GAIN = 0.7
"""Share of the way that is left which is asked for in one control step."""
NEAR_M = 0.012
"""A waypoint is reached within this distance, or after `PATIENCE_STEPS`."""
PATIENCE_STEPS = 60
ABOVE_M = 0.12
"""Height over the object from which the hand comes down, and to which it lifts it."""
GRIP_STEPS = 15
"""Control steps in which the fingers close or open."""
RIM_M = 0.048
"""From a bowl's middle to its rim, across which the fingers close: they are apart along y."""
BOWL_HEIGHT_M, TALL_HEIGHT_M = 0.03, 0.015
"""Height of the grasp over the object's own position."""
PLACE_M = {"in": 0.16, "on": 0.09}
"""Height over the target at which the object is let go."""


class LiberoExpert:
    """Picks the goal's object and places it; one goal only."""

    def __init__(self, env: Any):
        """Plan the episode that the environment is at the beginning of.

        Raises:
            ConfigurationError: The task is not to put one object into or onto another.
        """
        self._env = env
        self._scene = env._env.env
        goals = self._scene.parsed_problem["goal_state"]
        if len(goals) != 1 or goals[0][0] not in PLACE_M:
            got = " and ".join(" ".join(goal) for goal in goals)
            raise ConfigurationError(
                f"expert in libero/{env.task_name}", got=got, allowed="one goal: an object in or on another"
            )
        self._relation, self._object, target = goals[0]
        self._target = target.removesuffix("_contain_region")
        is_bowl = "bowl" in self._object
        self._offset = np.array([0.0, RIM_M if is_bowl else 0.0, BOWL_HEIGHT_M if is_bowl else TALL_HEIGHT_M])
        self._phase, self._num_steps = 0, 0
        self._goal = np.zeros(3)

    def act(self) -> np.ndarray:
        """Return the next action, float32 [7]: increments of the hand's pose, gripper -1 open to 1 closed."""
        hand = self._scene.sim.data.site_xpos[self._scene.robots[0].eef_site_id]
        goal, gripper, num_steps = self._waypoint(hand)
        self._num_steps += 1
        reached = np.linalg.norm(goal - hand) < NEAR_M if num_steps is None else self._num_steps >= num_steps
        if reached or self._num_steps >= PATIENCE_STEPS:
            self._phase, self._num_steps = self._phase + 1, 0
        action = np.zeros(7, np.float32)
        action[:3] = np.clip(GAIN * (goal - hand) / POSITION_UNIT_M, -1.0, 1.0)
        action[6] = gripper
        return action

    def _waypoint(self, hand: np.ndarray) -> tuple[np.ndarray, float, int | None]:
        """Return where the hand goes now, what the gripper does, and for how many steps; None: until it is there."""
        up = np.array([0.0, 0.0, ABOVE_M])
        grasp = self._position(self._object) + self._offset
        place = self._position(self._target) + self._offset * [1.0, 1.0, 0.0] + [0.0, 0.0, PLACE_M[self._relation]]
        if self._num_steps == 0:
            # Positions are read anew at the beginning of a phase; while the object is held its own would run ahead.
            waypoints = (grasp + up, grasp, grasp, hand + up, place + up, place, place, place + up)
            self._goal = waypoints[min(self._phase, len(waypoints) - 1)]
        gripper = CLOSED if 2 <= self._phase <= 5 else OPEN
        return self._goal, gripper, GRIP_STEPS if self._phase in (2, 6) else None

    def _position(self, name: str) -> np.ndarray:
        return np.array(self._scene.sim.data.body_xpos[self._scene.obj_body_id[name]])
