"""The simulated scene as shapes in a browser: what MuJoCo draws, body by body, so that only poses move afterwards."""

# pyright: reportAttributeAccessIssue=false
# (the compiled part of MuJoCo comes without types)

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from foreact.simulation.world import World

ROOM = "world"
"""Body whose boxes are the walls and the floor of the room: they would hide the table from most places."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One visible piece of a body, in the body's own frame."""

    body: str
    """Name of the body, unique."""
    name: str
    """Of the piece, unique within the body."""
    vertices_m: np.ndarray
    """[vertices, 3]."""
    faces: np.ndarray
    """[faces, 3], indices of vertices."""
    colour: tuple[int, int, int]
    """Red, green and blue, 0 to 255."""
    position_m: np.ndarray
    quaternion: np.ndarray
    """[4], w first."""


def body_names(world: World) -> list[str]:
    """Return a unique name of every body, in the order of the model."""
    model = world.model
    return [model.body(number).name or f"body_{number}" for number in range(model.nbody)]


def visible_shapes(world: World) -> Iterator[Shape]:
    """Yield all that can be seen, but for the room's walls and floor."""
    model, names = world.model, body_names(world)
    for number in range(model.ngeom):
        body = names[model.geom_bodyid[number]]
        material = model.geom_matid[number]
        rgba = model.mat_rgba[material] if material >= 0 else model.geom_rgba[number]
        if body == ROOM or rgba[3] == 0:
            continue
        mesh = _mesh(model, number)
        if mesh is not None:
            red, green, blue = (int(255 * part) for part in rgba[:3])
            yield Shape(
                body=body,
                name=f"{number:03d}",
                vertices_m=mesh[0],
                faces=mesh[1],
                colour=(red, green, blue),
                position_m=model.geom_pos[number].copy(),
                quaternion=model.geom_quat[number].copy(),
            )


def _mesh(model: mujoco.MjModel, number: int) -> tuple[np.ndarray, np.ndarray] | None:
    kind, size = model.geom_type[number], model.geom_size[number]
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[number]
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        start, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        return model.mesh_vert[first : first + count].copy(), model.mesh_face[start : start + faces].copy()
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return box(size)
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return cylinder(size[0], size[1])
    return None


def box(half_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and outward faces of a box around the origin."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    faces = [
        (0, 1, 3),
        (0, 3, 2),
        (4, 6, 7),
        (4, 7, 5),
        (0, 4, 5),
        (0, 5, 1),
        (2, 3, 7),
        (2, 7, 6),
        (0, 2, 6),
        (0, 6, 4),
    ]
    faces += [(1, 5, 7), (1, 7, 3)]
    return corners * half_m, np.array(faces)


def cylinder(radius_m: float, half_height_m: float, num_sides: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and outward faces of an upright cylinder around the origin."""
    angles = np.linspace(0, 2 * np.pi, num_sides, endpoint=False)
    ring = radius_m * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = [np.column_stack([ring, np.full(num_sides, height)]) for height in (-half_height_m, half_height_m)]
    vertices = np.concatenate([*rings, [[0, 0, -half_height_m], [0, 0, half_height_m]]])
    faces, bottom, top = [], 2 * num_sides, 2 * num_sides + 1
    for side in range(num_sides):
        after = (side + 1) % num_sides
        faces += [(side, after, num_sides + after), (side, num_sides + after, num_sides + side)]
        faces += [(bottom, after, side), (top, num_sides + side, num_sides + after)]
    return vertices, np.array(faces)
