# pyright: reportAttributeAccessIssue=false
# (the compiled part of MuJoCo comes without types)
"""Pictures of the scene, small and fast: one renderer, made when first needed and used again."""

import os
import weakref

import mujoco
import numpy as np

from foreact.errors import ConfigurationError, SimulationError, UnknownNameError
from foreact.simulation.graphics import INSTALL_LINE

CAMERAS = ("top", "left_wrist", "right_wrist")
MAX_IMAGE_SIZE = 640

_FLAGS = mujoco.mjtRndFlag
_OFF = (_FLAGS.mjRND_SHADOW, _FLAGS.mjRND_REFLECTION, _FLAGS.mjRND_SKYBOX)
"""What costs time and shows nothing."""


class Renderer(mujoco.Renderer):
    """MuJoCo's own, which asks for these when it is deleted, even if OpenGL failed before it had them."""

    _gl_context = None
    _mjr_context = None


class Photographer:
    """Takes pictures of one model with a fixed set of cameras."""

    def __init__(self, model: mujoco.MjModel, cameras: tuple[str, ...], image_size: int):
        """Check the cameras and the size in pixels; OpenGL is not touched yet.

        Raises:
            UnknownNameError: The scene has no such camera.
            ConfigurationError: No camera, or a size that cannot be.
        """
        for camera in cameras:
            if camera not in CAMERAS:
                raise UnknownNameError("camera", str(camera), CAMERAS)
        if not cameras:
            raise ConfigurationError("cameras", got="none", allowed=", ".join(CAMERAS))
        if not 1 <= image_size <= MAX_IMAGE_SIZE:
            raise ConfigurationError("image_size", got=image_size, allowed=f"1 to {MAX_IMAGE_SIZE} pixels")
        self.cameras = cameras
        self.shape = (image_size, image_size)
        self._model = model
        self._renderer: Renderer | None = None
        self._free: weakref.finalize | None = None
        self._option = mujoco.MjvOption()
        # Convex hulls instead of meshes: five times as fast, and just what collides.
        self._option.flags[mujoco.mjtVisFlag.mjVIS_CONVEXHULL] = 1

    def take(self, data: mujoco.MjData) -> dict[str, np.ndarray]:
        """One picture a camera, uint8 [height, width, 3].

        Raises:
            SimulationError: No offscreen rendering on this machine.
        """
        if self._renderer is None:
            self._renderer = self._open()
            # Also when nobody closes it: OpenGL must be freed before the interpreter is torn down.
            self._free = weakref.finalize(self, self._renderer.close)
        pictures = {}
        for camera in self.cameras:
            self._renderer.update_scene(data, camera, self._option)
            pictures[camera] = self._renderer.render().copy()
        return pictures

    def close(self) -> None:
        """Free the renderer; a later `take` makes a new one."""
        if self._free is not None:
            self._free()
        self._renderer = self._free = None

    def _open(self) -> Renderer:
        self._model.vis.global_.offwidth = max(self.shape[1], self._model.vis.global_.offwidth)
        self._model.vis.global_.offheight = max(self.shape[0], self._model.vis.global_.offheight)
        try:
            renderer = Renderer(self._model, *self.shape)
        except Exception as error:  # each backend raises its own kinds
            backend = os.environ.get("MUJOCO_GL", "")
            cure = f"import foreact.simulation before mujoco; install software rendering: {INSTALL_LINE}"
            if backend not in ("", "egl", "osmesa", "disable"):
                cure = f"MUJOCO_GL={backend} needs a screen: unset it, or set it to egl or osmesa"
            raise SimulationError("no offscreen OpenGL for pictures", got=error, cure=cure) from error
        for flag in _OFF:
            renderer.scene.flags[flag] = 0
        return renderer
