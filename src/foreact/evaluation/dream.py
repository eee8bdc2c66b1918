"""A dream: what a policy imagines from one still picture per camera, and the actions it would take, in open loop."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from foreact.embodiments import Embodiment
from foreact.errors import ConfigurationError
from foreact.policy.policy import Policy
from foreact.policy.session import Session
from foreact.policy.storage.checkpoint import CONFIG_FILE, read_inference
from foreact.policy.viewer import Frames, LatentViewer
from foreact.trace import Trace


@dataclass(frozen=True, kw_only=True)
class DreamConfig:
    """What is dreamed of, and for how long."""

    instruction: str
    """What the robot is to do, in words."""
    num_chunks: int = 4
    """Chunks imagined, each upon those before."""
    seed: int = 0
    """Of all the noise."""

    def __post_init__(self) -> None:
        if self.num_chunks < 1:
            raise ConfigurationError("chunks to imagine", got=self.num_chunks, allowed="1 or more")


@dataclass(frozen=True, kw_only=True)
class DreamedChunk:
    """One prediction, taken for what happened."""

    actions: Float[np.ndarray, "_time dofs"]
    """float32, the robot's own units."""
    frames: Frames
    """What the cameras would see meanwhile, at the size at which the policy sees."""
    stage_ms: dict[str, float]
    """Milliseconds spent per stage; the first chunk's hold the encoding of the first pictures."""


@dataclass(frozen=True, kw_only=True)
class Dream:
    """A whole rollout in imagination."""

    config: DreamConfig
    embodiment: Embodiment
    """The robot dreamed of."""
    first_images: Frames
    """The one real frame of each camera, at its own size."""
    state: Float[np.ndarray, " state"]
    """The robot's, at the start."""
    chunks: tuple[DreamedChunk, ...]

    @property
    def actions(self) -> Float[np.ndarray, "time dofs"]:
        """The actions of all chunks; row i is executed at i / action_hz seconds."""
        return np.concatenate([chunk.actions for chunk in self.chunks])

    @property
    def pictures(self) -> list[tuple[int, dict[str, np.ndarray]]]:
        """Per instant of the cameras, the first at 0 s: number of the chunk (-1 for the real one), one picture each."""
        clips = [(-1, self.first_images), *((index, chunk.frames) for index, chunk in enumerate(self.chunks))]
        return [
            (index, {camera: clip[k] for camera, clip in frames.items()})
            for index, frames in clips
            for k in range(len(next(iter(frames.values()))))
        ]


def dream(
    policy: Policy,
    config: DreamConfig,
    images: Frames,
    state: Float[np.ndarray, " state"],
    *,
    on_chunk: Callable[[DreamedChunk], None] | None = None,
) -> Dream:
    """Return what the policy imagines if it never looks again.

    Args:
        policy: One that imagines.
        config: What and how long.
        images: The first frame of every camera, uint8 [1, height, width, 3], of any size.
        state: The robot's own units.
        on_chunk: Told each chunk as it is finished.

    Raises:
        ConfigurationError: The policy does not imagine.
        InputError: As `Policy.observe_first`.
    """
    check_imagines(policy)
    first = {camera: images[camera] for camera in policy.embodiment.cameras if camera in images}
    session = policy.start(config.instruction, seed=config.seed)
    policy.observe_first(session, first, state)
    viewer = LatentViewer(policy.networks.vae, policy.embodiment.layout)
    if session.observed is not None:
        viewer.show(session.observed)
    chunks = []
    for _ in range(config.num_chunks):
        chunks.append(_dream_on(policy, session, viewer))
        if on_chunk:
            on_chunk(chunks[-1])
    return Dream(config=config, embodiment=policy.embodiment, first_images=first, state=state, chunks=tuple(chunks))


def _dream_on(policy: Policy, session: Session, viewer: LatentViewer) -> DreamedChunk:
    chunk, trace = policy.predict(session), Trace()
    policy.accept_imagined(session)
    with trace.span("decode_video"):
        frames = viewer.show(torch.from_numpy(chunk.imagined_latents))
    return DreamedChunk(actions=chunk.actions, frames=frames, stage_ms={**chunk.stage_ms, **trace.take()})


def check_imagines(policy: Policy) -> None:
    """Refuse a policy that does not imagine.

    Raises:
        ConfigurationError: It does not; the message names those that ship and do.
    """
    if policy.config.trained.imagines:
        return
    shipped = Path(str(files("foreact"))) / "checkpoints"
    configs = {path.parent.name: json.loads(path.read_text()) for path in sorted(shipped.glob(f"*/{CONFIG_FILE}"))}
    names = [name for name, config in configs.items() if read_inference(config).trained.imagines]
    raise ConfigurationError(
        "policy",
        got="a reactive one: its actions come straight from what it sees, it imagines nothing",
        allowed=f"one that imagines, such as {', '.join(names) or 'those trained with imagines = true'}",
    )
