"""Episodes in real time: the simulated world does not wait for the policy.

The control loop and the simulator run in the calling thread, where the cameras' OpenGL context lives, and the policy in
another. What the machine cannot keep up with is counted, as for a real robot: commands given late, deadlines missed,
steps in which the robot stood still.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from foreact.control.clock import RealClock
from foreact.control.config import ControlConfig
from foreact.control.controller import Turn
from foreact.control.latency import DelaySettings
from foreact.control.report import DriveReport
from foreact.control.worker import ThreadWorker, Worker
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult, control_config, run_episode
from foreact.evaluation.robots import SimulatedRobot
from foreact.policy.controllers import ControlMode, PolicyController
from foreact.policy.policy import Policy
from foreact.simulation.environment import BimanualEnv
from foreact.types import Observation

REHEARSED_TURNS = 2


@dataclass(frozen=True, kw_only=True)
class RealtimeFigures:
    """How an episode went, in numbers for people."""

    duration_s: float
    """From the first deadline to the last command; on success, the time to it."""
    first_chunk_s: float
    """Of it, waiting for the first chunk."""
    idle_s: float
    """Of it, standing still for want of an action later on."""
    idle_share: float
    """Of the time after the first chunk."""
    num_ticks: int
    """Commands given, or withheld before the first chunk."""
    num_late_ticks: int
    """Commands given more than `ControlConfig.late_tick_ms` after their deadline."""
    num_missed_ticks: int
    """Deadlines passed over altogether."""
    worst_lateness_ms: float
    """The most that a command came after its deadline."""
    delay_ms: tuple[float, float] | None
    """Median and 95 % quantile of the time from a question to its chunk; None if only the first chunk was asked for."""
    num_chunks: int
    """Chunks that took effect."""
    num_late_chunks: int
    """Of them, those that the robot had to wait for though it was not meant to."""
    num_fallbacks: int
    """Answers that asked to see first."""
    disagreement: float | None
    """Mean over the turns; None if nothing imagined was seen later."""

    @staticmethod
    def of(result: EpisodeResult, report: DriveReport, config: ControlConfig) -> "RealtimeFigures":
        """Return the figures of an episode."""
        delays_ms = 1e3 * np.array(report.delays_s)
        return RealtimeFigures(
            duration_s=(report.num_ticks - report.num_stopping_ticks + report.num_missed_ticks) * config.tick_s,
            first_chunk_s=report.num_first_ticks * config.tick_s,
            idle_s=report.num_idle_ticks * config.tick_s,
            idle_share=report.idle_share,
            num_ticks=report.num_ticks,
            num_late_ticks=report.num_late_ticks,
            num_missed_ticks=report.num_missed_ticks,
            worst_lateness_ms=1e3 * report.worst_lateness_s,
            delay_ms=(float(np.median(delays_ms)), float(np.quantile(delays_ms, 0.95))) if len(delays_ms) else None,
            num_chunks=len(result.executed),
            num_late_chunks=report.num_late_chunks,
            num_fallbacks=report.num_fallbacks,
            disagreement=float(np.mean(result.disagreement)) if result.disagreement else None,
        )


def run_in_real_time(
    policy: Policy,
    env: BimanualEnv,
    seed: int,
    *,
    mode: ControlMode,
    config: ControlConfig | None = None,
    worker: Worker | None = None,
    on_start: Callable[[EpisodeRecord], None] | None = None,
) -> tuple[EpisodeResult, EpisodeRecord, DriveReport]:
    """Run one episode by the machine's clock.

    Args:
        policy: Drives the robot, from another thread.
        env: Its world; reset here, and stepped in this thread.
        seed: Of the world and of the policy's noise.
        mode: Which controller.
        config: How the robot is driven; None: as `realtime_config` says, after a rehearsal.
        worker: Computes the chunks; None: a thread.
        on_start: Given the record before it fills; its lists only ever grow, so that another thread may read them.
    """
    clock = RealClock()
    robot = SimulatedRobot(env, seed=seed, control_hz=policy.embodiment.timing.action_hz)
    config = config or realtime_config(policy, rehearse(policy, env, mode))
    return run_episode(
        policy, robot, config, seed, mode=mode, clock=clock, worker=worker or ThreadWorker(clock), on_start=on_start
    )


def realtime_config(policy: Policy, turn_s: float) -> ControlConfig:
    """Return how the policy's robot is driven when a turn is known to take about `turn_s` seconds."""
    return control_config(policy, delay=DelaySettings(initial_s=turn_s))


def rehearse(policy: Policy, env: BimanualEnv, mode: ControlMode) -> float:
    """Return the seconds that a turn takes, the slowest of two; the first ones of a process are slower than all others.

    Args:
        policy: Not changed.
        env: At the start of an episode; not changed.
        mode: Which controller.
    """
    controller = PolicyController(policy, env.instruction, mode=mode)
    images = env.images()
    controller.begin(Observation(images=images, state=env.state(), time_s=0.0))
    turn, spent_s = _still_turn(policy, controller, images, env.state()), []
    for _ in range(1 + REHEARSED_TURNS):
        start_s = time.perf_counter()
        controller.proceed(turn)
        spent_s.append(time.perf_counter() - start_s)
    return max(spent_s[1:])


def _still_turn(
    policy: Policy, controller: PolicyController, images: Mapping[str, np.ndarray], state: np.ndarray
) -> Turn:
    """A chunk's worth of standing still, and as much under way as may be."""
    timing, num_actions = policy.embodiment.timing, policy.actions_per_chunk
    still = np.tile(policy.embodiment.hold_action(state), (num_actions, 1))
    num_frames = num_actions // timing.camera_stride
    return Turn(
        images={camera: np.repeat(image[None], num_frames, axis=0) for camera, image in images.items()},
        executed=still,
        under_way=still[: 0 if controller.waits else timing.actions_per_latent_frame],
        prefix=still[:0],
    )
