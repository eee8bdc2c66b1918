# pyright: reportAttributeAccessIssue=false
# (the compiled part of MuJoCo comes without types)
"""Pictures of any MuJoCo model, taken when asked for, by one renderer that is made once."""

import atexit
import weakref
from collections.abc import Mapping, Sequence
from typing import Literal

import mujoco
import numpy as np

from foreact.errors import SimulationError
from foreact.simulation.graphics import INSTALL_LINE
from foreact.simulation.rendering import Renderer

_FLAGS = mujoco.mjtRndFlag
_OFF = (_FLAGS.mjRND_SHADOW, _FLAGS.mjRND_REFLECTION)


class ModelPictures:
    """Takes pictures of one model."""

    def __init__(
        self,
        model: mujoco.MjModel,
        cameras: Mapping[str, str],
        image_size: int,
        quality: Literal["stock", "fast"],
        *,
        hidden_groups: Sequence[int] = (),
    ):
        """OpenGL is not touched yet.

        Args:
            model: What is seen.
            cameras: Name of each picture, and the model's camera that takes it.
            image_size: Height and width in pixels.
            quality: `fast`: without shadows, reflections and multisampling.
            hidden_groups: Groups of geometries that are not drawn, those used for collisions alone for example.
        """
        self._model, self._cameras, self._size = model, dict(cameras), image_size
        self._fast = quality == "fast"
        self._option = mujoco.MjvOption()
        for group in hidden_groups:
            self._option.geomgroup[group] = 0
        self._renderer: Renderer | None = None
        self._free: weakref.finalize | None = None

    def take(self, data: mujoco.MjData) -> dict[str, np.ndarray]:
        """Return one picture a camera, uint8 [height, width, 3].

        Raises:
            SimulationError: No offscreen rendering on this machine.
        """
        if self._renderer is None:
            self._renderer = self._open()
            # OpenGL must be freed before MuJoCo ends EGL at exit, also when nobody calls `close`: what is registered
            # last runs first, and MuJoCo has been imported by now.
            self._free = weakref.finalize(self, self._renderer.close)
            atexit.register(self._free)
        pictures = {}
        for name, camera in self._cameras.items():
            self._renderer.update_scene(data, camera, self._option)
            pictures[name] = self._renderer.render().copy()
        return pictures

    def close(self) -> None:
        """Free the renderer; a later `take` makes a new one."""
        if self._free is not None:
            atexit.unregister(self._free)
            self._free()
        self._renderer = self._free = None

    def _open(self) -> Renderer:
        visual = self._model.vis
        visual.global_.offwidth = max(self._size, visual.global_.offwidth)
        visual.global_.offheight = max(self._size, visual.global_.offheight)
        if self._fast:
            visual.quality.offsamples = 0  # read when the renderer is made: later is too late
        try:
            renderer = Renderer(self._model, self._size, self._size)
        except Exception as error:  # each backend raises its own kinds
            cure = f"install software rendering: {INSTALL_LINE}"
            raise SimulationError("no offscreen OpenGL for pictures", got=error, cure=cure) from error
        for flag in _OFF if self._fast else ():
            renderer.scene.flags[flag] = 0
        return renderer
