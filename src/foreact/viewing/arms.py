"""Arms alone in the three-dimensional scene: poses that were dreamed, not simulated."""

import numpy as np
import viser

from foreact.simulation.world import World
from foreact.viewing.meshes import body_meshes

COLOUR = (70, 120, 190)


class ArmsView:
    """Both arms of our scene, put wherever an action says, at once."""

    def __init__(self, server: viser.ViserServer, root: str, offset_m: tuple[float, float, float]):
        """Add nothing yet: the arms come with their first pose, so that a page that never dreams has less to load.

        Args:
            server: Of the page.
            root: Name of its part of the scene.
            offset_m: Where in the scene its world's origin is.
        """
        self._server, self._root, self._offset_m = server, root, offset_m
        self._world = World(1)
        self._bodies: dict[int, viser.MeshHandle] = {}

    @property
    def is_shown(self) -> bool:
        """Whether they were posed."""
        return bool(self._bodies)

    def pose(self, action: np.ndarray) -> None:
        """Put the arms where an action [14] wants them, and show them."""
        if not self._bodies:
            self._build()
        self._world.place(action, {})
        data = self._world.data
        with self._server.atomic():
            for body, handle in self._bodies.items():
                handle.position, handle.wxyz = data.xpos[body], data.xquat[body]

    def _build(self) -> None:
        self._server.scene.add_frame(self._root, show_axes=False, position=self._offset_m)
        for mesh in body_meshes(self._world.model):
            if mesh.name.startswith(("cube_", "bin_", "lamp")):
                continue
            self._bodies[mesh.body] = self._server.scene.add_mesh_simple(
                f"{self._root}/{mesh.name.replace('/', '_')}",
                mesh.vertices,
                mesh.faces,
                color=COLOUR if mesh.name.startswith("vx300s") else mesh.colour,
                flat_shading=True,
                cast_shadow=False,
                receive_shadow=False,
            )
