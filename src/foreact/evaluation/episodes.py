"""Running a policy through episodes, and what is kept of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from foreact.control.loop import ExecutedChunk, LoopConfig, run_episode
from foreact.evaluation.robots import SimulatedRobot
from foreact.policy.policy import Policy
from foreact.policy.session import Session
from foreact.simulation.environment import BimanualEnv


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One line of `episodes.jsonl`."""

    seed: int
    success: bool
    progress: float
    """Stages achieved over stages."""
    steps: int
    """Control steps executed; on success, until success."""
    stage: str
    """The stage it was in when it ended."""
    imagination_error: list[float]
    """Per whole chunk, root mean squared difference of imagined and observed latents (1 is their spread)."""
    stage_ms: list[dict[str, float]]
    """Per chunk, milliseconds per stage of computing it."""
    executed: list[int]
    """Per chunk, actions executed."""


@dataclass(kw_only=True)
class EpisodeRecord:
    """Everything seen on the way, for pictures and figures."""

    first_images: Mapping[str, np.ndarray] = field(default_factory=dict)
    first_latents: torch.Tensor | None = None
    chunks: list[ExecutedChunk] = field(default_factory=list)
    observed: list[torch.Tensor | None] = field(default_factory=list)
    """Per chunk the latents really observed; None if the episode ended within it."""


def evaluate_episode(
    policy: Policy,
    env: BimanualEnv,
    seed: int,
    *,
    closed: bool = True,
    execution_horizon: int | None = None,
    on_chunk: Callable[[ExecutedChunk], None] | None = None,
) -> tuple[EpisodeResult, EpisodeRecord]:
    """Run one episode.

    Args:
        policy: Drives the robot.
        env: Its world; reset here.
        seed: Of the world and of the policy's noise.
        closed: False runs open loop.
        execution_horizon: Actions of each chunk that are executed; None: all.
        on_chunk: Told every chunk, for a live display.
    """
    timing = policy.embodiment.timing
    robot = SimulatedRobot(env, seed=seed, control_hz=timing.action_hz)
    record = EpisodeRecord()
    witness = None if closed else policy.start("")

    def begin(session: Session, images: Mapping[str, np.ndarray]) -> None:
        record.first_images, record.first_latents = images, session.observed
        if witness is not None:
            policy.encode_frames(witness, images)

    def keep(session: Session, turn: ExecutedChunk) -> None:
        record.chunks.append(turn)
        record.observed.append(_observed(policy, session, witness, turn))
        if on_chunk:
            on_chunk(turn)

    loop = LoopConfig(camera_stride=timing.camera_stride, execution_horizon=execution_horizon, closed=closed)
    steps = run_episode(robot, policy, robot.instruction, loop, seed=seed, on_start=begin, on_chunk=keep)
    return _result(seed, steps, robot.info, record), record


def _observed(policy: Policy, session: Session, witness: Session | None, turn: ExecutedChunk) -> torch.Tensor | None:
    """Return the latents of what really happened; open loop, a witness encodes what the policy never sees."""
    if not turn.whole:
        return None
    return session.observed if witness is None else policy.encode_frames(witness, turn.images)


def _result(seed: int, steps: int, info: Mapping[str, Any], record: EpisodeRecord) -> EpisodeResult:
    errors = []
    for turn, observed in zip(record.chunks, record.observed, strict=True):
        if observed is None or turn.chunk.imagined_latents is None:
            continue
        imagined = torch.from_numpy(turn.chunk.imagined_latents)[:, : observed.shape[1]]
        errors.append((imagined - observed.cpu()).square().mean().sqrt().item())
    return EpisodeResult(
        seed=seed,
        success=bool(info["success"]),
        progress=float(info["progress"]),
        steps=steps,
        stage=str(info["stage"]),
        imagination_error=errors,
        stage_ms=[dict(turn.chunk.stage_ms) for turn in record.chunks],
        executed=[len(turn.executed) for turn in record.chunks],
    )
