"""Episodes in real time: the simulated world does not wait for the policy.

The control loop and the simulator run in the calling thread, where the cameras' OpenGL context lives, and the policy in
another. As on a robot, the control loop goes before everything else on the machine, where the system permits it. What
the machine cannot keep up with is counted: commands given late, deadlines missed, steps in which the robot stood still.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np

from foreact.control.clock import RealClock
from foreact.control.config import ControlConfig
from foreact.control.controller import Turn
from foreact.control.latency import DelaySettings
from foreact.control.report import DriveReport
from foreact.control.worker import ThreadWorker, Worker
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult, run_episode
from foreact.evaluation.robots import SimulatedRobot
from foreact.policy.controllers import ControlMode, PolicyController, control_config
from foreact.policy.policy import Policy
from foreact.simulation.environment import BimanualEnv
from foreact.types import Observation

REHEARSED_TURNS = 3
HEADROOM = 1.5
"""Times as long as rehearsed that the first turn in earnest may take, next to the control loop and the cameras."""
PRIORITY = 10
"""Among threads of real-time priority, 1 to 99; any of them goes before all other threads."""


class RealtimeRobot(SimulatedRobot):
    """A simulated robot whose cameras are ready at the deadline.

    A picture is rendered right after the step that leads to it, while the control loop would sleep, rather than at the
    next deadline, where it would make the command late. The world does not move in between: the picture is the same.
    """

    def __init__(
        self, env: BimanualEnv, *, seed: int, control_hz: float, camera_stride: int, max_steps: int | None = None
    ):
        """Reset the environment to the episode of that seed.

        Args:
            env: The world.
            seed: Of the episode.
            control_hz: Commands per second.
            camera_stride: Actions per camera frame: no picture is asked for earlier than that after the last.
            max_steps: Control steps after which it is over, whatever happened; None: when the episode is.
        """
        super().__init__(env, seed=seed, control_hz=control_hz)
        self._camera_stride, self._max_steps = camera_stride, max_steps
        self._ready: Mapping[str, np.ndarray] | None = None
        self._num_since = 0

    def act(self, action: np.ndarray) -> None:
        """Execute one action, and take the picture that may be asked for next."""
        super().act(action)
        if self._max_steps is not None:
            self.done = self.num_steps >= self._max_steps
        self._num_since += 1
        self._ready = super()._take() if self._num_since >= self._camera_stride else None

    def _take(self) -> Mapping[str, np.ndarray]:
        ready, self._ready, self._num_since = self._ready, None, 0
        return super()._take() if ready is None else ready


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
    config: ControlConfig,
    worker: Worker | None = None,
    duration_s: float | None = None,
    urgent: bool = True,
    on_start: Callable[[EpisodeRecord], None] | None = None,
) -> tuple[EpisodeResult, EpisodeRecord, DriveReport]:
    """Run one episode by the machine's clock.

    Args:
        policy: Drives the robot, from another thread.
        env: Its world; reset here, and stepped in this thread.
        seed: Of the world and of the policy's noise.
        mode: Which controller.
        config: How the robot is driven, for example `realtime_config`.
        worker: Computes the chunks; None: a thread.
        duration_s: Seconds of control after which it is over, whatever happened; None: when the episode is.
        urgent: Let the control loop go before all other threads of the machine, where that is permitted.
        on_start: Given the record before it fills; its lists only ever grow, so that another thread may read them.
    """
    clock, timing = RealClock(), policy.embodiment.timing
    robot = RealtimeRobot(
        env,
        seed=seed,
        control_hz=timing.action_hz,
        camera_stride=timing.camera_stride,
        max_steps=None if duration_s is None else round(duration_s * timing.action_hz),
    )
    worker = worker or ThreadWorker(clock)
    with real_time_priority() if urgent else nullcontext():
        return run_episode(policy, robot, config, seed, mode=mode, clock=clock, worker=worker, on_start=on_start)


@contextmanager
def real_time_priority() -> Iterator[bool]:
    """Let this thread, and none that it starts, go before all others of the machine; yields False if that is forbidden.

    Linux only, and it takes the privilege CAP_SYS_NICE, which root has.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, *before)


def realtime_config(policy: Policy, turn_s: float) -> ControlConfig:
    """Return how the policy's robot is driven when a rehearsed turn took `turn_s` seconds."""
    return control_config(policy, delay=DelaySettings(initial_s=HEADROOM * turn_s))


def rehearse(policy: Policy, env: BimanualEnv, mode: ControlMode) -> float:
    """Return the seconds that a turn takes, the median of three; those before, the first of a process, are slower.

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
    return float(np.median(spent_s[1:]))


def _still_turn(
    policy: Policy, controller: PolicyController, images: Mapping[str, np.ndarray], state: np.ndarray
) -> Turn:
    """A chunk's worth of standing still; its last latent frame is under way if the controller can do with that."""
    timing, num_actions = policy.embodiment.timing, policy.actions_per_chunk
    still = np.tile(policy.embodiment.hold_action(state), (num_actions, 1))
    alone = policy.config.latent_frames_per_chunk == 1
    num_under_way = 0 if controller.waits or alone else timing.actions_per_latent_frame
    num_frames = (num_actions - num_under_way) // timing.camera_stride
    return Turn(
        images={camera: np.repeat(image[None], num_frames, axis=0) for camera, image in images.items()},
        executed=still[num_under_way:],
        under_way=still[:num_under_way],
        prefix=still[:0],
    )
