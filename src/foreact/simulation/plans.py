"""Which way the arms go in each task, from what is true now. Numbers after `go` are control steps of 20 ms.

A plan function is called again whenever something did not go as planned, so it begins by looking: who holds the cube,
where it lies, where the bin stands. Along the way it notes what must stay true (`Plan.expect`), which is how the expert
learns that it has to look again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from foreact.errors import UnknownNameError
from foreact.simulation import scene
from foreact.simulation.kinematics import facing, pitched_down
from foreact.simulation.routes import Route, Waypoint
from foreact.simulation.starts import Start
from foreact.simulation.world import World

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
CLEAR_M = 0.11
"""Height of a tip at which it can move over the table without touching anything."""
MOVED_M = 0.008
"""A thing that is farther than this from where it was planned with has moved."""
BIN_MOVED_M = 0.015
"""Likewise a bin, which is large."""
CLOSING_STEPS, HOLD_STEPS = 13, 40
AT_REST_M = 0.05


@dataclass(frozen=True)
class Expectation:
    """Something that must hold during some control steps of a plan, or the plan is no longer any good."""

    first_step: int
    last_step: int
    holds: Callable[[World], bool]


@dataclass
class Plan:
    """Where both arms go from now on, and what must stay true meanwhile."""

    routes: dict[str, Route]
    rest: dict[str, Waypoint]
    """Where each arm was when the episode began."""
    miss_m: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """Added to where the next grasp should be: more than 2 cm miss the cube."""
    is_first: bool = True
    """Nothing has gone wrong so far: the arms are where the episode began."""
    expectations: list[Expectation] = field(default_factory=list)

    @property
    def right(self) -> Route:
        """The right arm's way."""
        return self.routes["right"]

    @property
    def left(self) -> Route:
        """The left arm's way."""
        return self.routes["left"]

    @property
    def end_step(self) -> int:
        """The control step at which both arms have arrived."""
        return max(route.last.step for route in self.routes.values())

    def expect(self, first_step: int, last_step: int, holds: Callable[[World], bool]) -> None:
        """Note what must hold from one control step to another, both included."""
        self.expectations.append(Expectation(first_step, last_step, holds))

    def is_broken(self, world: World, step: int) -> bool:
        """Whether something that must hold now does not."""
        return any(e.first_step <= step <= e.last_step and not e.holds(world) for e in self.expectations)


PlanFunction = Callable[[World, Start, Plan], None]


def plan_reach(world: World, start: Start, plan: Plan) -> None:
    """The right tip to the cube, and stay there."""
    del start
    grasp, rotation = _grasp(world, "white")
    _clear(world, plan)
    _expect_unmoved(world, plan, "white", plan.right.last.step, forever=True)
    plan.right.go(52 if plan.is_first else 34, grasp + _up(0.09), rotation, 1.0)
    plan.right.go(28, grasp, slack=TIGHT).go(10, slack=TIGHT)


def plan_lift(world: World, start: Start, plan: Plan) -> None:
    """The cube up, straight."""
    del start
    _take(world, plan, "white")
    height_m = plan.right.last.pose.position[2]
    plan.right.go(36, plan.right.last.pose.position + _up(max(0.0, 0.146 - height_m)), slack=LOOSE)
    plan.right.go(15, slack=LOOSE)
    _expect_held(plan, "right", "white", plan.end_step + 1000)


def plan_transfer(world: World, start: Start, plan: Plan) -> None:
    """The cube from the right gripper to the left, in the air."""
    del start
    _hand_over(world, plan, "white")
    plan.left.go(HOLD_STEPS, slack=LOOSE)
    _expect_held(plan, "left", "white", plan.end_step + 1000)


def plan_point(world: World, start: Start, plan: Plan) -> None:
    """After the yellow light: the left tip over the bin whose colour the lamp showed."""
    if _wait_for_light(start, plan):
        return
    target, rotation = _over_bin(world, start.bins[0])
    bin_now = world.bin_position(start.bins[0])
    first = plan.left.last.step
    plan.left.go(52, target + _up(0.19), rotation).go(10)
    plan.expect(first, first + 10_000, lambda w: _near(w.bin_position(start.bins[0]), bin_now, BIN_MOVED_M))


def plan_remember(world: World, start: Start, plan: Plan) -> None:
    """After the yellow light: every cube into the bin whose colour the lamp showed for it, one after the other."""
    if _wait_for_light(start, plan):
        return
    todo = [index for index, cube in enumerate(world.cubes) if not world.lies_in_bin(cube, start.bins[index])]
    if not todo:
        return
    cube, colour = world.cubes[todo[0]], start.bins[todo[0]]
    left, right = plan.left, plan.right
    if not world.holds_alone("left", cube):
        _hand_over(world, plan, cube)
        left.go(25, MEETING_M - _forward(0.08), slack=LOOSE)
    taken = left.last.step - 25
    if np.linalg.norm(right.last.pose.position - plan.rest["right"].pose.position) > AT_REST_M:
        rest = plan.rest["right"]
        right.go(45, rest.pose.position, rest.pose.rotation, rest.opening)
    bin_now = world.bin_position(colour)
    target, rotation = _over_bin(world, colour)
    left.go(52, target + _up(0.17), rotation, slack=LOOSE).go(25, target + _up(0.085), slack=TIGHT)
    plan.expect(taken, left.last.step, lambda w: w.holds("left", cube))
    plan.expect(taken, left.last.step, lambda w: _near(w.bin_position(colour), bin_now, BIN_MOVED_M))
    left.go(12, opening=1.0, slack=TIGHT).go(22, target + _up(0.2))
    right.wait_until(left.last.step)


PLANS: dict[str, PlanFunction] = {
    "reach_cube": plan_reach,
    "lift_cube": plan_lift,
    "transfer_cube": plan_transfer,
    "point_at_bin": plan_point,
    "remember_bin": plan_remember,
    "remember_bin_two": plan_remember,
}
"""Task to the function that plans the rest of an episode from what is true now."""


def get_plan(task: str) -> PlanFunction:
    """Return the plan function of a task.

    Raises:
        UnknownNameError: No expert knows the task.
    """
    if task not in PLANS:
        raise UnknownNameError("task with an expert", task, PLANS)
    return PLANS[task]


def standing(world: World, step: int) -> dict[str, Waypoint]:
    """Return where each arm is, as a way to begin from."""
    openings = dict(zip(scene.SIDES, world.measured().reshape(2, 7)[:, 6].astype(float), strict=True))
    return {
        side: Waypoint(step=step, pose=world.tip_pose(side), opening=openings[side], slack=0.0) for side in scene.SIDES
    }


def _wait_for_light(start: Start, plan: Plan) -> bool:
    """Stand still until the lamp turns yellow, if it has not; return whether it has not."""
    if plan.left.last.step >= start.go_step:
        return False
    for route in plan.routes.values():
        route.wait_until(start.go_step)
    return True


def _hand_over(world: World, plan: Plan, cube: str) -> None:
    """Take the cube with the right arm and give it to the left, as far as that is not done yet."""
    right, left = plan.right, plan.left
    if not world.holds("left", cube):
        _take(world, plan, cube)
        right.go(22, right.last.pose.position + _up(max(0.0, 0.106 - right.last.pose.position[2])), slack=LOOSE)
        right.go(34, MEETING_M, GIVING, slack=EXACT)
        meeting = max(right.last.step, left.last.step + 75)
        right.wait_until(meeting, slack=EXACT)
        left.wait_until(meeting - 75)
        left.go(65, MEETING_M + TAKE_OFFSET_M - _forward(0.17), TAKING, 1.0).wait_until(meeting, slack=TIGHT)
        left.go(28, MEETING_M + TAKE_OFFSET_M, slack=EXACT).go(16, opening=0.0, slack=EXACT)
        _expect_held(plan, "right", cube, left.last.step)
        plan.expect(left.last.step + 1, left.last.step + 4, lambda w: w.holds("left", cube))
    if not world.holds_alone("left", cube):
        right.wait_until(left.last.step + 2, slack=EXACT)
        right.go(12, opening=1.0, slack=EXACT).go(26, right.last.pose.position - 0.11 * right.last.pose.rotation[:, 0])
        left.wait_until(right.last.step, slack=LOOSE)


def _take(world: World, plan: Plan, cube: str) -> None:
    """The right gripper above the cube, down and closed; nothing if it holds the cube. An idle left arm goes away."""
    if world.holds("right", cube):
        return
    right, left = plan.right, plan.left
    _clear(world, plan)
    rest = plan.rest["left"]
    if np.linalg.norm(left.last.pose.position - rest.pose.position) > AT_REST_M:
        left.go(45, rest.pose.position, rest.pose.rotation, rest.opening)
    grasp, rotation = _grasp(world, cube)
    first = right.last.step
    right.go(52 if plan.is_first else 34, grasp + plan.miss_m + _up(0.09), rotation, 1.0)
    right.go(28, grasp + plan.miss_m, slack=TIGHT).go(3, slack=TIGHT)
    _expect_unmoved(world, plan, cube, first)
    right.go(CLOSING_STEPS, opening=0.0, slack=TIGHT)


def _clear(world: World, plan: Plan) -> None:
    """Open the right gripper and lift it off the table before a new attempt."""
    right = plan.right
    if plan.is_first:
        return
    if right.last.opening < 0.9:
        right.go(8, opening=1.0)
    tip = right.last.pose.position
    if tip[2] < CLEAR_M and min(np.linalg.norm((tip - world.cube_position(cube))[:2]) for cube in world.cubes) < 0.12:
        right.go(12, tip + _up(CLEAR_M - tip[2]))


def _expect_held(plan: Plan, side: str, cube: str, last_step: int) -> None:
    """From when the gripper has closed: from the start, if this plan does not open and close it."""
    waypoints = plan.routes[side].waypoints
    closed = next((w.step for w in waypoints if w.opening == 0.0), waypoints[0].step)
    plan.expect(closed + 2, last_step, lambda w: w.holds(side, cube))


def _expect_unmoved(world: World, plan: Plan, cube: str, first_step: int, *, forever: bool = False) -> None:
    place = world.cube_position(cube)
    last_step = first_step + 10_000 if forever else plan.right.last.step
    plan.expect(first_step, last_step, lambda w: _near(w.cube_position(cube), place, MOVED_M))


def _near(position: np.ndarray, place: np.ndarray, distance_m: float) -> bool:
    return bool(np.linalg.norm((position - place)[:2]) < distance_m)


def _over_bin(world: World, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of a bin on the table, and how the left gripper is turned to reach over it."""
    target = np.append(world.bin_position(colour)[:2], 0.0)
    toward = target[:2] - LEFT_BASE_M
    return target, pitched_down(float(np.arctan2(toward[1], toward[0])), PITCH_RAD)


def _grasp(world: World, cube: str) -> tuple[np.ndarray, np.ndarray]:
    """Return where the right tip goes and how it is turned to take a cube from the table."""
    rotation = pitched_down(np.pi + world.cube_yaw(cube), PITCH_RAD)
    return world.cube_position(cube) + GRASP_OFFSET_M, rotation


def _forward(distance_m: float) -> np.ndarray:
    return distance_m * TAKING[:, 0]


def _up(height_m: float) -> np.ndarray:
    return np.array([0.0, 0.0, height_m])
