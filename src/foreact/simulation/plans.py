"""Which way the arms go in each task. Numbers after `go` are control steps of 20 ms."""

from collections.abc import Callable

import numpy as np

from foreact.errors import UnknownNameError
from foreact.simulation import scene
from foreact.simulation.kinematics import facing, pitched_down
from foreact.simulation.routes import Route, Waypoint
from foreact.simulation.starts import Start
from foreact.simulation.world import World

Routes = dict[str, Route]

PITCH_RAD = np.radians(60)
MEETING_M = np.array([0.0, 0.5, 0.25])
GIVING = pitched_down(np.pi, PITCH_RAD)
TAKING = facing((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
TAKE_OFFSET_M = np.array([0.01, 0.0, -0.008])
"""From the right tip to the left tip when both hold the cube: fingers then pass by each other."""
GRASP_OFFSET_M = np.array([0.0, 0.0, -0.004])
LEFT_BASE_M = np.array([-0.469, 0.5])
LOOSE, TIGHT, EXACT = 0.4, 0.15, 0.05
"""Slack with a cube between the fingers, where they must fit around it, and where four fingers meet."""


def plan_reach(world: World, start: Start, routes: Routes, index: int) -> None:
    """The right tip to the cube."""
    del start, index
    grasp, rotation = _grasp(world, "white")
    right = routes["right"]
    right.go(52, grasp + _up(0.09), rotation, 1.0).go(28, grasp, slack=TIGHT).go(10, slack=TIGHT)


def plan_lift(world: World, start: Start, routes: Routes, index: int) -> None:
    """The cube up, straight."""
    del start
    _pick(world, routes["right"], index).go(36, routes["right"].last.pose.position + _up(0.13), slack=LOOSE)
    routes["right"].go(15, slack=LOOSE)


def plan_transfer(world: World, start: Start, routes: Routes, index: int) -> None:
    """The cube from the right gripper to the left, in the air."""
    del start
    right, left = _pick(world, routes["right"], index), routes["left"]
    right.go(22, right.last.pose.position + _up(0.09), slack=LOOSE)
    right.go(34, MEETING_M, GIVING, slack=EXACT)
    meeting_step = right.last.step
    left.wait_until(meeting_step - 75)
    left.go(65, MEETING_M + TAKE_OFFSET_M - _forward(0.17), TAKING, 1.0).wait_until(meeting_step, slack=TIGHT)
    left.go(28, MEETING_M + TAKE_OFFSET_M, slack=EXACT).go(16, opening=0.0, slack=EXACT)
    right.wait_until(left.last.step + 2, slack=EXACT)
    right.go(12, opening=1.0, slack=EXACT).go(26, MEETING_M - 0.11 * GIVING[:, 0])
    left.wait_until(right.last.step, slack=LOOSE)


def plan_remember(world: World, start: Start, routes: Routes, index: int) -> None:
    """After the yellow light: transfer, then the cube into the bin whose colour the lamp showed."""
    for side in scene.SIDES:
        routes[side].wait_until(start.go_step)
    rest = routes["right"].waypoints[0]
    plan_transfer(world, start, routes, index)
    left, right = routes["left"], routes["right"]
    right.go(45, rest.pose.position, rest.pose.rotation, rest.opening)
    target = np.array([*scene.BIN_CENTRES_M[start.bins[index]], 0.0])
    toward = target[:2] - LEFT_BASE_M
    rotation = pitched_down(float(np.arctan2(toward[1], toward[0])), PITCH_RAD)
    left.go(25, MEETING_M - _forward(0.08), slack=LOOSE)
    left.go(52, target + _up(0.17), rotation, slack=LOOSE).go(25, target + _up(0.085), slack=TIGHT)
    left.go(12, opening=1.0, slack=TIGHT).go(22, target + _up(0.2))
    right.wait_until(left.last.step)


PLANS: dict[str, Callable[[World, Start, Routes, int], None]] = {
    "reach_cube": plan_reach,
    "lift_cube": plan_lift,
    "transfer_cube": plan_transfer,
    "remember_bin": plan_remember,
    "remember_bin_two": plan_remember,
}
"""Task to the function that appends the way for one cube, by its index, to the arms' routes."""


def get_plan(task: str) -> Callable[[World, Start, Routes, int], None]:
    """The plan for a task.

    Raises:
        UnknownNameError: No expert knows the task.
    """
    if task not in PLANS:
        raise UnknownNameError("task with an expert", task, PLANS)
    return PLANS[task]


def start_routes(world: World, step: int) -> Routes:
    """Routes that begin where the arms are."""
    openings = dict(zip(scene.SIDES, world.measured().reshape(2, 7)[:, 6].astype(float), strict=True))
    return {
        side: Route(Waypoint(step=step, pose=world.tip_pose(side), opening=openings[side], slack=0.0))
        for side in scene.SIDES
    }


def _pick(world: World, right: Route, index: int) -> Route:
    """The right gripper above the cube, down and closed."""
    grasp, rotation = _grasp(world, world.cubes[index])
    right.go(52, grasp + _up(0.09), rotation, 1.0).go(28, grasp, slack=TIGHT).go(3, slack=TIGHT)
    return right.go(13, opening=0.0, slack=TIGHT)


def _grasp(world: World, cube: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the right tip goes and how it is turned to take a cube from the table."""
    rotation = pitched_down(np.pi + world.cube_yaw(cube), PITCH_RAD)
    return world.cube_position(cube) + GRASP_OFFSET_M, rotation


def _forward(distance_m: float) -> np.ndarray:
    return distance_m * TAKING[:, 0]


def _up(height_m: float) -> np.ndarray:
    return np.array([0.0, 0.0, height_m])
