# pyright: reportAttributeAccessIssue=false
# (the compiled part of MuJoCo comes without types)
"""The visible shapes of a MuJoCo model as triangles, one list a body."""

from dataclasses import dataclass

import mujoco
import numpy as np
import trimesh


@dataclass(frozen=True)
class BodyMesh:
    """Everything of one colour on one body, in the body's own frame."""

    body: int
    """Number of the body in the model."""
    name: str
    """Of the body."""
    vertices: np.ndarray
    """float32 [vertices, 3], m."""
    faces: np.ndarray
    """int32 [faces, 3], three vertices each."""
    colour: tuple[int, int, int]
    """Red, green, blue, 0 to 255."""


def body_meshes(model: mujoco.MjModel) -> list[BodyMesh]:
    """Return what can be seen of a model, without the room's walls: meshes, boxes and cylinders."""
    shown: dict[tuple[int, tuple[int, int, int]], list[trimesh.Trimesh]] = {}
    for geom in range(model.ngeom):
        body, rgba = int(model.geom_bodyid[geom]), model.geom_rgba[geom]
        if body == 0 or rgba[3] == 0:  # the world's own shapes are the walls; what is transparent is only touched
            continue
        red, green, blue = (int(255 * value) for value in rgba[:3])
        shape = _shape(model, geom)
        shape.apply_transform(_transform(model, geom))
        shown.setdefault((body, (red, green, blue)), []).append(shape)
    return [_joined(model, body, colour, shapes) for (body, colour), shapes in shown.items()]


def _joined(model: mujoco.MjModel, body: int, colour: tuple[int, int, int], shapes: list[trimesh.Trimesh]) -> BodyMesh:
    whole = trimesh.util.concatenate(shapes)
    vertices, faces = np.asarray(whole.vertices, np.float32), np.asarray(whole.faces, np.int32)
    return BodyMesh(body, model.body(body).name, vertices, faces, colour)


def _shape(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh:
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return trimesh.creation.box(extents=2 * size)
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=32)
    assert kind == mujoco.mjtGeom.mjGEOM_MESH, "the scene has meshes, boxes and cylinders only"
    mesh = int(model.geom_dataid[geom])
    vertices = slice(model.mesh_vertadr[mesh], model.mesh_vertadr[mesh] + model.mesh_vertnum[mesh])
    faces = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
    return trimesh.Trimesh(model.mesh_vert[vertices].copy(), model.mesh_face[faces].copy(), process=False)


def _transform(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Return float64 [4, 4]: from the geom's frame to its body's."""
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation.reshape(3, 3), model.geom_pos[geom]
    return transform
