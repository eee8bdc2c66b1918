"""Running a policy through episodes, and what is kept of each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreact.control.clock import Clock, VirtualClock
from foreact.control.config import ControlConfig
from foreact.control.controller import Controller
from foreact.control.dialogue import Placed
from foreact.control.drive import drive
from foreact.control.latency import constant
from foreact.control.report import DriveReport
from foreact.control.worker import VirtualWorker, Worker
from foreact.embodiments import Embodiment, Timing
from foreact.environments.environment import Environment
from foreact.evaluation.robots import SimulatedRobot
from foreact.evaluation.smoothness import seam_jerk
from foreact.policy.controllers import ControlMode, PolicyController, control_config
from foreact.policy.policy import Policy


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One line of `episodes.jsonl`."""

    seed: int
    success: bool
    progress: float
    """Stages achieved over stages."""
    steps: int
    """Control steps that passed, those of standing still included; on success, until success."""
    stage: str
    """The stage it was in when it ended."""
    imagination_error: list[float]
    """Per chunk, root mean squared difference of imagined latents and those seen while it was executed (1 is their
    spread)."""
    stage_ms: list[dict[str, float]]
    """Per chunk, milliseconds per stage of computing it."""
    executed: list[int]
    """Per chunk, actions executed."""
    idle_share: float = 0.0
    """Share of the control steps after the first action in which the robot stood still for want of one."""
    late_chunks: int = 0
    """Chunks that came later than had been reckoned with."""
    fallbacks: int = 0
    """Times the controller asked to see before it would plan."""
    disagreement: list[float] = field(default_factory=list)
    """Per turn, how far what was seen since the last is from what had been imagined."""
    seam_jerk: float | None = None
    """Root mean square of the commands' third derivative where a new chunk takes over, per second cubed; None if
    none did."""
    disturbances: list[dict[str, Any]] = field(default_factory=list)
    """What went wrong without the robot's doing: kind, control step, what, how much (`simulation.disturbances`)."""


@dataclass(kw_only=True)
class EpisodeRecord:
    """Everything seen on the way, for pictures and figures."""

    timing: Timing
    pictures: list[Mapping[str, np.ndarray]] = field(default_factory=list)
    """Camera frames uint8 [height, width, 3]: the first one, then one after every `camera_stride` actions."""
    seen: list[Tensor] = field(default_factory=list)
    """Their latents, [channels, frames, height, width] each, as they were encoded."""
    picture_steps: list[int] = field(default_factory=list)
    """Control steps that had passed when each was taken, those of standing still included."""
    commands: list[np.ndarray] = field(default_factory=list)
    """What the robot was told at every control step, float32 [dofs]: executed actions and holds."""
    answers: list[Placed] = field(default_factory=list)
    """What the controller answered, as it took effect; those without actions, to see first, are among them."""
    chunks: list[Placed] = field(default_factory=list)
    """The answers that have actions."""
    executed: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """float32 [actions, dofs]."""
    executed_wall_ticks: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64 [actions]: ticks of the clock at which they were given."""

    @property
    def latents(self) -> Tensor:
        """Latents of all whole latent frames, [channels, frames, height, width]."""
        return torch.cat(self.seen, dim=1)

    def clips(self, first: int, stop: int) -> dict[str, np.ndarray]:
        """Return camera frames first .. stop - 1 of every camera, uint8 [time, height, width, 3]."""
        frames = self.pictures[first:stop]
        return {camera: np.stack([frame[camera] for frame in frames]) for camera in self.pictures[0]} if frames else {}

    def spans(self) -> Iterator[tuple[Placed, range]]:
        """Yield each chunk with the control steps during which it was the one in force."""
        ends = [*(later.begin_tick for later in self.chunks[1:]), len(self.executed)]
        for placed, end in zip(self.chunks, ends, strict=True):
            if placed.begin_tick < len(self.executed):
                yield placed, range(placed.begin_tick, min(end, len(self.executed)))

    def imagined(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (imagined latents, seen ones) of the frames that each chunk was in force for."""
        if not self.seen:  # a controller that knows no latents
            return
        latents, per_frame = self.latents, self.timing.actions_per_latent_frame
        for placed, steps in self.spans():
            if placed.chunk.imagined_latents is None:
                continue
            first = 1 + steps.start // per_frame
            num = min(latents.shape[1], 1 + steps.stop // per_frame) - first
            num = min(num, placed.chunk.imagined_latents.shape[1])
            if num > 0:
                yield torch.from_numpy(placed.chunk.imagined_latents)[:, :num], latents[:, first : first + num]


def evaluate_episode(
    policy: Policy,
    env: Environment,
    seed: int,
    *,
    mode: ControlMode = "synchronous",
    latencies_s: Iterator[float] | None = None,
    execution_horizon: int | None = None,
    on_chunk: Callable[[Placed], None] | None = None,
) -> tuple[EpisodeResult, EpisodeRecord]:
    """Run one episode in virtual time: the world stands still while the policy computes, but for `latencies_s`.

    Args:
        policy: Drives the robot.
        env: Its world; reset here.
        seed: Of the world and of the policy's noise.
        mode: Which controller.
        latencies_s: Seconds that each chunk is said to take; None: none.
        execution_horizon: Latent frames of each chunk that are executed; None: all.
        on_chunk: Told every chunk, for a live display.
    """
    clock = VirtualClock()
    worker = VirtualWorker(clock, constant(0.0) if latencies_s is None else latencies_s)
    robot = SimulatedRobot(env, seed=seed, control_hz=policy.embodiment.timing.action_hz)
    config = control_config(policy, execution_horizon=execution_horizon)
    result, record, _ = run_episode(
        policy, robot, config, seed, mode=mode, clock=clock, worker=worker, on_chunk=on_chunk
    )
    return result, record


def evaluate_controller(
    start: Callable[[SimulatedRobot, int], Controller],
    env: Environment,
    seed: int,
    *,
    embodiment: Embodiment,
    config: ControlConfig,
    latencies_s: Iterator[float] | None = None,
    on_chunk: Callable[[Placed], None] | None = None,
) -> tuple[EpisodeResult, EpisodeRecord]:
    """Run one episode as `evaluate_episode` does, under a controller that need not be a policy of ours.

    Its result has neither imagination error nor, unless its chunks say so, disagreement; its record has no latents.

    Args:
        start: Given the robot at the start of its episode and the seed; returns its controller.
        env: Its world; reset here.
        seed: Of the world and of the controller's noise.
        embodiment: The robot.
        config: How it is driven, at the embodiment's rates.
        latencies_s: Seconds that each chunk is said to take; None: none.
        on_chunk: Told every chunk, for a live display.
    """
    clock = VirtualClock()
    worker = VirtualWorker(clock, constant(0.0) if latencies_s is None else latencies_s)
    robot = SimulatedRobot(env, seed=seed, control_hz=config.action_hz)
    record = start_record(robot, embodiment.timing)
    report = drive_episode(
        start(robot, seed), robot, embodiment, config, record, clock=clock, worker=worker, on_chunk=on_chunk
    )
    _complete(record, robot, report)
    return _result(record, robot, report, seed), record


def run_episode(
    policy: Policy,
    robot: SimulatedRobot,
    config: ControlConfig,
    seed: int,
    *,
    mode: ControlMode,
    clock: Clock,
    worker: Worker,
    on_chunk: Callable[[Placed], None] | None = None,
    on_start: Callable[[EpisodeRecord], None] | None = None,
) -> tuple[EpisodeResult, EpisodeRecord, DriveReport]:
    """Drive the robot until its episode is over, by whatever clock; return what came of it.

    Args:
        policy: Drives the robot.
        robot: At the start of an episode.
        config: How it is driven.
        seed: Of the policy's noise.
        mode: Which controller.
        clock: Real or virtual.
        worker: Computes the chunks; closed at the end.
        on_chunk: Told every answer, between two control steps: it must be quick.
        on_start: Given the record before it fills; its lists only ever grow, so that another thread may read them.
    """
    record = start_record(robot, policy.embodiment.timing)
    controller = PolicyController(
        policy, robot.instruction, mode=mode, seed=seed, on_observed=lambda latents: record.seen.append(latents.cpu())
    )

    if on_start:
        on_start(record)
    report = drive_episode(
        controller, robot, policy.embodiment, config, record, clock=clock, worker=worker, on_chunk=on_chunk
    )
    return (*finish(policy, controller, robot, report, record, seed), report)


def finish(
    policy: Policy,
    controller: PolicyController,
    robot: SimulatedRobot,
    report: DriveReport,
    record: EpisodeRecord,
    seed: int,
) -> tuple[EpisodeResult, EpisodeRecord]:
    """Return an episode's result; complete its record with what the policy was not shown, or never looked at."""

    def encode(clips: Mapping[str, np.ndarray]) -> Tensor:
        return policy.encode_frames(controller.session, clips).cpu()

    return finish_record(policy.embodiment.timing, encode, robot, report, record, seed)


def finish_record(
    timing: Timing,
    encode: Callable[[Mapping[str, np.ndarray]], Tensor],
    robot: SimulatedRobot,
    report: DriveReport,
    record: EpisodeRecord,
    seed: int,
) -> tuple[EpisodeResult, EpisodeRecord]:
    """Return an episode's result as `finish` does, wherever its policy is.

    Args:
        timing: The robot's.
        encode: Returns the latents [channels, frames, height, width] of camera frames that follow those it has seen.
        robot: At the end of the episode.
        report: What was counted on the way.
        record: Completed here.
        seed: Of the episode.
    """
    _complete(record, robot, report)
    num_seen = record.latents.shape[1]
    unseen = record.clips(timing.num_camera_frames(num_seen), len(record.pictures))
    whole = len(record.pictures) - timing.num_camera_frames(num_seen)
    whole -= whole % timing.vae_factor
    if whole > 0:
        rest = {camera: clip[:whole] for camera, clip in unseen.items()}
        record.seen.append(encode(rest))
    return _result(record, robot, report, seed), record


def start_record(robot: SimulatedRobot, timing: Timing) -> EpisodeRecord:
    """Return a record that grows with what the robot sees and is told."""
    return EpisodeRecord(
        timing=timing, pictures=robot.pictures, picture_steps=robot.picture_steps, commands=robot.commands
    )


def drive_episode(
    controller: Controller,
    robot: SimulatedRobot,
    embodiment: Embodiment,
    config: ControlConfig,
    record: EpisodeRecord,
    *,
    clock: Clock,
    worker: Worker,
    on_chunk: Callable[[Placed], None] | None,
) -> DriveReport:
    """Drive until the episode is over; the record (`start_record`) gets the controller's answers."""

    def keep(placed: Placed) -> None:
        record.answers.append(placed)
        if len(placed.chunk.actions):
            record.chunks.append(placed)
        if on_chunk:
            on_chunk(placed)

    # Of raw channels no action is known to hold the robot: it gets none before the first chunk.
    standstill = None if embodiment.channels else embodiment.hold_action(robot.state)
    return drive(robot, controller, config, clock=clock, worker=worker, standstill=standstill, on_chunk=keep)


def _complete(record: EpisodeRecord, robot: SimulatedRobot, report: DriveReport) -> None:
    record.executed, record.executed_wall_ticks = report.executed, report.executed_wall_ticks
    if len(record.executed) // record.timing.camera_stride == len(record.pictures):
        robot.observe()  # the frame that the last action ended: the loop was over


def _result(record: EpisodeRecord, robot: SimulatedRobot, report: DriveReport, seed: int) -> EpisodeResult:
    info = robot.info
    disagreements = [placed.chunk.disagreement for placed in record.chunks]
    return EpisodeResult(
        seed=seed,
        success=bool(info["is_success"]),
        progress=float(info["progress"]),
        steps=robot.num_steps,
        stage=str(info["stage"]),
        imagination_error=[(guess - real).square().mean().sqrt().item() for guess, real in record.imagined()],
        stage_ms=[dict(placed.chunk.stage_ms) for placed in record.chunks],
        executed=[len(steps) for _, steps in record.spans()],
        idle_share=report.idle_share,
        late_chunks=report.num_late_chunks,
        fallbacks=report.num_fallbacks,
        disagreement=[value for value in disagreements if value is not None],
        disturbances=list(info.get("disturbances", [])),
        seam_jerk=seam_jerk(report, [placed.begin_tick for placed in record.chunks[1:]], record.timing.action_hz),
    )
