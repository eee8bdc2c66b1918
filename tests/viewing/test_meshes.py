import mujoco
import numpy as np
import pytest

pytest.importorskip("trimesh")

from foreact.simulation.world import World
from foreact.viewing.meshes import body_meshes


def test_every_body_that_can_be_seen_has_its_triangles() -> None:
    world = World(1)
    meshes = body_meshes(world.model)
    named = {mesh.name for mesh in meshes}
    assert {"table", "lamp", "cube_white", "bin_red", "vx300s_left/gripper_link", "vx300s_right/gripper_link"} <= named
    assert "world" not in named  # the room's walls
    cube = next(mesh for mesh in meshes if mesh.name == "cube_white")
    assert np.ptp(cube.vertices, axis=0) == pytest.approx([0.04] * 3) and len(cube.faces) == 12
    assert cube.colour[0] > 240


def test_shapes_lie_where_mujoco_has_them() -> None:
    """Each body's box of vertices holds the centre of each of its shapes, as MuJoCo computes it."""
    world = World(1)
    mujoco.mj_forward(world.model, world.data)
    for mesh in body_meshes(world.model):
        rotation = world.data.xmat[mesh.body].reshape(3, 3)
        placed = mesh.vertices @ rotation.T + world.data.xpos[mesh.body]
        low, high = placed.min(axis=0) - 1e-4, placed.max(axis=0) + 1e-4
        for geom in np.flatnonzero(world.model.geom_bodyid == mesh.body):
            if world.model.geom_rgba[geom][3] > 0:
                assert np.all((low <= world.data.geom_xpos[geom]) & (world.data.geom_xpos[geom] <= high)), mesh.name
