"""The simulated robot of an episode that people steer: it can be watched, stopped, and its cubes can be moved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foreact.evaluation.realtime import RealtimeRobot
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.starts import CUBE_AREA_M
from foreact.simulation.world import World

HAND_M_PER_STEP = 0.012
"""How far a cube is moved in one control step of 20 ms, as a quick hand would: 0.6 m/s."""


@dataclass(frozen=True, eq=False)
class Poses:
    """Where everything is at one instant."""

    step: int
    """Control steps since the episode began."""
    positions: np.ndarray
    """float64 [bodies, 3], m."""
    quaternions: np.ndarray
    """float64 [bodies, 4], w x y z."""
    lamp: np.ndarray
    """float32 [4]: red, green, blue, opacity in 0 to 1."""


class PlayRobot(RealtimeRobot):
    """One episode in the bimanual scene. `move_cube`, `stop` and `poses` may be used from any thread."""

    def __init__(self, env: BimanualEnv, *, seed: int, control_hz: float, camera_stride: int, now: Callable[[], float]):
        """Reset the environment to the episode of that seed.

        Args:
            env: The world.
            seed: Of the episode.
            control_hz: Commands per second.
            camera_stride: Actions per camera frame.
            now: Returns the control loop's time in s.
        """
        super().__init__(env, seed=seed, control_hz=control_hz, camera_stride=camera_stride)
        self._world: World = env.world
        self._targets: dict[str, np.ndarray] = {}
        self.was_stopped = False
        self._now = now
        self.times_s: list[float] = []
        """When each control step was made. Steps are 20 ms apart unless the machine was too slow."""
        self.cubes = env.world.cubes
        self.poses = self._poses()

    def move_cube(self, cube: str, position_m: tuple[float, float]) -> None:
        """Begin to move a cube to x, y on the table, in m; a position beyond its free part becomes the nearest there.

        Nothing happens while an arm touches the cube or it lies elsewhere than on the table.
        """
        (low_x, high_x), (low_y, high_y) = CUBE_AREA_M
        self._targets = self._targets | {cube: np.clip(position_m, (low_x, low_y), (high_x, high_y))}

    def stop(self) -> None:
        """End the episode at the next control step."""
        self.was_stopped = self.done = True

    def act(self, action: np.ndarray) -> None:
        """Execute one action, and move the cubes that a person moves."""
        self.times_s.append(self._now())
        self._move_cubes(HAND_M_PER_STEP)
        super().act(action)
        self.done = self.done or self.was_stopped
        self.poses = self._poses()

    def while_paused(self) -> None:
        """Put the cubes where they are wanted, while no time passes."""
        if self._targets:
            self._move_cubes(np.inf)
            self._world.show(self._world.positions())  # recomputes where everything is
            self._ready = None  # a picture taken before the cube was moved
            self.poses = self._poses()

    def _move_cubes(self, most_m: float) -> None:
        for cube, target in list(self._targets.items()):
            position = self._world.cube_position(cube)[:2]
            way = target - position
            distance = float(np.linalg.norm(way))
            if not self._may_move(cube) or distance < 1e-4:
                if self._targets.get(cube) is target:  # not replaced by another thread meanwhile
                    del self._targets[cube]
                continue
            self._world.move_cube(cube, position + way * min(1.0, most_m / distance))

    def _may_move(self, cube: str) -> bool:
        lies = self._world.cube_height(cube) < 0.005
        return lies and not any("/" in thing for thing in self._world.touching(cube))

    def _poses(self) -> Poses:
        data = self._world.data
        lamp = self._world.model.geom("lamp").rgba.copy()
        return Poses(self.num_steps, data.xpos.copy(), data.xquat.copy(), lamp)
