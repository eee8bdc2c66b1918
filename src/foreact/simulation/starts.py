"""What is drawn at random at the start of an episode, and what it fixes for the rest of it."""

from dataclasses import dataclass

import numpy as np

from foreact.simulation import scene
from foreact.simulation.tasks import Task

CUBE_AREA_M = ((0.08, 0.22), (0.36, 0.64))
"""x and y of the cubes' centres."""
CUBE_YAW_RAD = 0.2
CUBE_DISTANCE_M = 0.09
JOINT_JITTER_RAD = 0.02
GRIPPER_OPENING = 0.05

FIRST_FLASH_STEP, FLASH_STEPS, BETWEEN_FLASHES_STEPS = 5, 25, 10


@dataclass(frozen=True, kw_only=True)
class Start:
    """All that is random in an episode."""

    pose: np.ndarray
    """[14] where the arms are, as an action."""
    cubes: dict[str, tuple[float, float, float]]
    """Cube to its x and y in m and its yaw in rad."""
    bins: tuple[str, ...] = ()
    """The bin colour each cube belongs to, in the cubes' order; empty without a lamp."""
    go_step: int = 0
    """The control step at which the lamp turns yellow."""

    def lamp_colour(self, step: int) -> scene.Colour:
        """The lamp at a control step: a flash for each cube, darkness, then yellow for the rest."""
        if self.bins and step >= self.go_step:
            return scene.LAMP_GO
        index, since = divmod(step - FIRST_FLASH_STEP, FLASH_STEPS + BETWEEN_FLASHES_STEPS)
        flashes = 0 <= index < len(self.bins) and since < FLASH_STEPS
        return scene.BIN_COLOURS[self.bins[index]] if flashes else scene.LAMP_DARK


def draw_start(task: Task, rng: np.random.Generator) -> Start:
    """A start for the task; equal generators draw equal starts."""
    joints = np.asarray(scene.REST_POSE) + rng.uniform(-JOINT_JITTER_RAD, JOINT_JITTER_RAD, (2, 6))
    pose = np.concatenate([joints, np.full((2, 1), GRIPPER_OPENING)], axis=1).ravel()
    cubes = _draw_cubes(task.num_cubes, rng)
    if task.lamp_delay_steps is None:
        return Start(pose=pose, cubes=cubes)
    least, most = task.lamp_delay_steps
    bins = tuple(str(colour) for colour in rng.permutation(list(scene.BIN_COLOURS))[: task.num_cubes])
    last_flash_end = FIRST_FLASH_STEP + len(bins) * FLASH_STEPS + (len(bins) - 1) * BETWEEN_FLASHES_STEPS
    return Start(pose=pose, cubes=cubes, bins=bins, go_step=last_flash_end + int(rng.integers(least, most + 1)))


def _draw_cubes(num_cubes: int, rng: np.random.Generator) -> dict[str, tuple[float, float, float]]:
    """Cubes anywhere in their area, but not so near to each other that the gripper would touch both."""
    cubes: dict[str, tuple[float, float, float]] = {}
    while len(cubes) < num_cubes:
        x, y = (rng.uniform(*span) for span in CUBE_AREA_M)
        if all(np.hypot(x - other[0], y - other[1]) > CUBE_DISTANCE_M for other in cubes.values()):
            colour = tuple(scene.CUBE_COLOURS)[len(cubes)]
            cubes[colour] = (float(x), float(y), float(rng.uniform(-CUBE_YAW_RAD, CUBE_YAW_RAD)))
    return cubes
