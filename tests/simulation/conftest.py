"""Worlds and environments for the simulation's tests, built once."""

from collections.abc import Callable

import numpy as np
import pytest

from foreact.simulation import scene
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.starts import GRIPPER_OPENING
from foreact.simulation.world import World

REST_ACTION = np.array([*scene.REST_POSE, GRIPPER_OPENING] * 2)


@pytest.fixture
def world() -> World:
    """Arms at rest, both cubes on the table."""
    world = World(num_cubes=2)
    world.place(REST_ACTION, {"white": (0.15, 0.5, 0.1), "purple": (0.10, 0.40, -0.1)})
    return world


@pytest.fixture(scope="session")
def lift_env() -> BimanualEnv:
    """An environment without cameras in use; reset it first."""
    return BimanualEnv("lift_cube")


@pytest.fixture
def rest_action() -> np.ndarray:
    """The action that keeps the arms at rest."""
    return REST_ACTION.copy()


@pytest.fixture
def put_cube() -> Callable[[World, str, tuple[float, float, float]], None]:
    """A function that moves a cube through space, still and upright."""
    import mujoco  # not before foreact.simulation, which chooses its OpenGL backend

    def put(world: World, cube: str, position: tuple[float, float, float]) -> None:
        joint = world.data.joint(f"cube_{cube}")
        joint.qpos[:] = (*position, 1, 0, 0, 0)
        joint.qvel[:] = 0
        mujoco.mj_forward(world.model, world.data)

    return put
