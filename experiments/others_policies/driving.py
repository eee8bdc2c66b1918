"""Another's policy in the seat that the evaluator has for ours. Knows nothing of LeRobot."""

import time
from collections.abc import Callable, Mapping

import numpy as np

from foreact.control.config import ControlConfig
from foreact.control.controller import Turn
from foreact.embodiments import Embodiment
from foreact.types import ActionChunk, Observation

Predict = Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray]
"""From pictures, uint8 [height, width, 3], and the state, float32 [num_dofs], to actions [num_actions, num_dofs]."""


class ChunkController:
    """Gives chunk after chunk, each from what is seen and measured at the moment; the robot stands still meanwhile."""

    waits = True
    inpaints = False

    def __init__(self, predict: Predict, embodiment: Embodiment, read_state: Callable[[], np.ndarray]):
        """Decide nothing yet.

        Args:
            predict: Decides; shown pictures of the size that the embodiment's layout says.
            embodiment: The robot.
            read_state: Measures its joints: after the first turn, our own policies are told only what was executed.
        """
        self._predict, self._layout, self._read_state = predict, embodiment.layout, read_state

    def begin(self, observation: Observation) -> ActionChunk:
        """Return the first chunk."""
        return self._decide({camera: image[None] for camera, image in observation.images.items()})

    def proceed(self, turn: Turn) -> ActionChunk:
        """Return the next chunk, from the newest pictures."""
        return self._decide({camera: images[-1:] for camera, images in turn.images.items()})

    def _decide(self, images: Mapping[str, np.ndarray]) -> ActionChunk:
        start_s = time.perf_counter()
        shown = {camera: clip[0] for camera, clip in self._layout.pictures(images)}
        actions = self._predict(shown, self._read_state())
        spent_ms = 1e3 * (time.perf_counter() - start_s)
        return ActionChunk(actions=np.asarray(actions, np.float32), stage_ms={"predict": spent_ms})


def config_for(embodiment: Embodiment, num_actions: int, execution_horizon: int) -> ControlConfig:
    """Return how the robot is driven by chunks of `num_actions`, of which `execution_horizon` are executed."""
    timing = embodiment.timing
    per_frame = timing.actions_per_latent_frame
    return ControlConfig(
        action_hz=timing.action_hz,
        camera_stride=timing.camera_stride,
        actions_per_latent_frame=per_frame,
        latent_frames_per_chunk=num_actions // per_frame,
        execution_horizon=execution_horizon // per_frame,
    )
