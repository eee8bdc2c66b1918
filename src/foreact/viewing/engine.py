"""Runs episodes in a thread of its own and takes commands from others; it knows no page and no browser."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import numpy as np

from foreact.control.dialogue import Placed
from foreact.control.drive import drive
from foreact.errors import ConfigurationError, InputError
from foreact.evaluation.episodes import EpisodeRecord, finish
from foreact.evaluation.live_view import write_recording
from foreact.evaluation.pictures import write_video
from foreact.evaluation.realtime import real_time_priority
from foreact.policy.controllers import control_config
from foreact.policy.policy import Policy
from foreact.simulation.disturbances import Disturbance
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.tasks import get_task
from foreact.simulation.world import NUM_DOFS
from foreact.viewing.choices import PlayChoices
from foreact.viewing.clock import PausableClock
from foreact.viewing.delay import DelayedWorker
from foreact.viewing.dreaming import DreamStart
from foreact.viewing.episode import Episode, EpisodeView, Phase, Snapshot
from foreact.viewing.robot import PlayRobot
from foreact.viewing.watching import WatchedController

PATIENCE = 2
"""Multiples of the task's time limit that an episode may take: a robot that stands still needs more time."""
LONGEST_LATENCY_S = 2.0


class PlayEngine:
    """One robot under one policy at a time. All methods may be called from any thread, `snapshot` from one only."""

    def __init__(self, load_policy: Callable[[str], Policy], choices: PlayChoices, *, urgent: bool = True):
        """Begin the first episode as soon as the thread is started (`with engine:`).

        Args:
            load_policy: Returns the policy of a name; called in the engine's thread.
            choices: Of the first episode.
            urgent: Let the control loop go before all other threads of the machine, where that is permitted.
        """
        self._load_policy, self._choices, self._urgent = load_policy, choices, urgent
        self._latency_s, self._speed, self._starts_paused = 0.0, 1.0, False
        self._stops_at_chunk, self._is_watched = False, False
        self._wanted = 0
        """Counts the episodes that were asked for: one that is not the last of them is not begun, or is ended."""
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="foreact-play", daemon=True)
        self._env: tuple[tuple, BimanualEnv] | None = None
        self._episode: Episode | None = None
        self._clock = PausableClock()
        self._number, self._problem = 0, None
        self._phase: Phase = "loading"
        self._view: EpisodeView | None = None
        self._jobs.put(partial(self._run_episode, self._wanted))

    def __enter__(self) -> "PlayEngine":
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the episode and the thread."""
        self._wanted += 1
        self._jobs.put(None)
        self._end_episode()
        self._thread.join()

    @property
    def choices(self) -> PlayChoices:
        """Of the episode that runs, or of the next one."""
        return self._choices

    @property
    def cubes(self) -> tuple[str, ...]:
        """The cubes on the table, by colour; none before the first episode."""
        episode = self._episode
        return () if episode is None else episode.robot.cubes

    def restart(self, choices: PlayChoices | None = None, *, paused: bool = False) -> None:
        """Begin an episode anew, with other choices if there are any; the same choices begin the same one.

        Args:
            choices: None: as they are.
            paused: Begin it paused.
        """
        self._choices, self._starts_paused = choices or self._choices, paused
        self._wanted, self._stops_at_chunk = self._wanted + 1, False
        self._jobs.put(partial(self._run_episode, self._wanted))
        self._end_episode()

    def pause(self) -> None:
        """Let no time pass in the world."""
        self._clock.pause()

    def resume(self) -> None:
        """Go on."""
        self._stops_at_chunk = False
        self._clock.resume()

    def next_chunk(self) -> None:
        """Go on until the next chunk takes effect, then pause."""
        self._stops_at_chunk = True
        self._clock.resume()

    def move_cube(self, cube: str, position_m: tuple[float, float]) -> None:
        """Move a cube on the table by hand, to x, y in m (`PlayRobot.move_cube`).

        Raises:
            InputError: The scene of this task has no such cube.
        """
        episode = self._episode
        if episode is None:
            return
        cubes = episode.robot.cubes
        if cube not in cubes:
            raise InputError("cube to move", got=repr(cube), allowed=", ".join(cubes))
        episode.robot.move_cube(cube, position_m)

    def set_latency(self, latency_s: float) -> None:
        """Let every chunk from now on take this many seconds at least.

        Raises:
            InputError: It is not in 0 to `LONGEST_LATENCY_S`.
        """
        if not 0 <= latency_s <= LONGEST_LATENCY_S:
            raise InputError("latency in s", got=latency_s, allowed=f"0 to {LONGEST_LATENCY_S:g}")
        self._latency_s = latency_s

    def set_speed(self, speed: float) -> None:
        """Let the world go at a part of the real pace; the policy then has more time to compute.

        Raises:
            ConfigurationError: See `PausableClock.set_speed`.
        """
        self._clock.set_speed(speed)
        self._speed = speed

    def watch_attention(self, watches: bool) -> None:
        """Find, from the next chunk on, where the policy looks; each chunk then takes one pass of the network more."""
        self._is_watched = watches

    def save_film(self, path: Path) -> "Future[Path]":
        """Write the last episode as an mp4: what the cameras saw next to what was imagined. The result is its path.

        The future raises InputError if no episode has ended by itself.
        """
        return self._later(partial(self._save_film, path))

    def save_recording(self, path: Path) -> "Future[Path]":
        """Write the last episode as a recording for Rerun's viewer (.rrd). The result is its path.

        The future raises InputError if no episode has ended by itself, ConfigurationError if Rerun is not installed.
        """
        return self._later(partial(self._save_recording, path))

    def snapshot(self) -> Snapshot:
        """Return what can be seen now; call it from one thread only, since it decodes what is new."""
        episode, number, phase, problem = self._episode, self._number, self._phase, self._problem
        if episode is None or phase in ("loading", "failed"):
            return Snapshot(number=number, phase=phase, problem=problem, choices=self._choices)
        if self._view is None or self._view.episode is not episode:
            self._view = EpisodeView(episode)
        if phase == "running" and self._clock.paused:
            phase = "paused"
        return self._view.snapshot(number=number, phase=phase, now_s=self._clock.now())

    def present(self) -> DreamStart | None:
        """Return the last picture of each camera, and where the robot stands; None before the first picture."""
        episode = self._episode
        if episode is None or not episode.record.pictures:
            return None
        images = {camera: image[None] for camera, image in episode.record.pictures[-1].items()}
        robot = episode.robot
        return DreamStart(images=images, state=np.asarray(robot.state, np.float32), instruction=robot.instruction)

    # ---- in the engine's thread ----

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        if self._env is not None:
            self._env[1].close()

    def _run_episode(self, number: int) -> None:
        if number != self._wanted:
            return
        try:
            episode = self._prepare(self._choices)
            with real_time_priority() if self._urgent else nullcontext():
                self._drive(episode, number)
        except Exception as error:
            self._problem, self._phase = str(error), "failed"

    def _prepare(self, choices: PlayChoices) -> Episode:
        self._phase, self._problem = "loading", None
        policy = self._load_policy(choices.policy)
        if policy.embodiment.num_dofs != NUM_DOFS:
            got = f"one that drives {policy.embodiment.name!r}, {policy.embodiment.num_dofs} joints"
            raise ConfigurationError("policy to play with", got=got, allowed=f"one for two arms, {NUM_DOFS} joints")
        policy = choices.applied_to(policy)
        timing, env = policy.embodiment.timing, self._environment(choices, policy)
        self._clock = PausableClock(self._while_paused)
        self._clock.set_speed(self._speed)
        robot = PlayRobot(
            env,
            seed=choices.seed,
            control_hz=timing.action_hz,
            camera_stride=timing.camera_stride,
            now=self._clock.now,
        )
        record = EpisodeRecord(
            timing=timing, pictures=robot.pictures, picture_steps=robot.picture_steps, commands=robot.commands
        )
        controller = WatchedController(
            policy,
            robot.instruction,
            is_watched=lambda: self._is_watched,
            mode=choices.controller,
            seed=choices.seed,
            on_observed=lambda latents: record.seen.append(latents.cpu()),
        )
        worker = DelayedWorker(self._clock, lambda: self._latency_s)
        return Episode(choices=choices, policy=policy, robot=robot, record=record, controller=controller, worker=worker)

    def _environment(self, choices: PlayChoices, policy: Policy) -> BimanualEnv:
        wanted = (choices.task, choices.disturbance, tuple(policy.embodiment.cameras))
        if self._env is not None and self._env[0] == wanted:
            return self._env[1]
        if self._env is not None:
            self._env[1].close()
        disturbance = Disturbance(name=choices.disturbance)
        limit = PATIENCE * round(disturbance.extra_time * get_task(choices.task).max_steps)
        env = BimanualEnv(choices.task, cameras=policy.embodiment.cameras, max_steps=limit, disturbance=disturbance)
        self._env = (wanted, env)
        return env

    def _drive(self, episode: Episode, number: int) -> None:
        robot, policy = episode.robot, episode.policy

        def note(placed: Placed) -> None:
            episode.record.answers.append(placed)
            if len(placed.chunk.actions):
                episode.record.chunks.append(placed)
            episode.attention = episode.controller.attention
            episode.answers.append(placed)
            if self._stops_at_chunk:
                self._clock.pause()

        self._episode, self._number, self._phase = episode, self._number + 1, "running"
        if self._starts_paused:
            self._clock.pause()
        if number != self._wanted:
            robot.stop()
        report = drive(
            robot,
            episode.controller,
            control_config(policy, watchdog_s=None),
            clock=self._clock,
            worker=episode.worker,
            standstill=policy.embodiment.hold_action(robot.state),
            on_chunk=note,
        )
        episode.report = report
        if robot.was_stopped:
            self._phase = "stopped"
        else:
            self._phase = "succeeded" if robot.info["success"] else "time up"

    def _while_paused(self) -> None:
        if self._episode is not None:
            self._episode.robot.while_paused()

    def _end_episode(self) -> None:
        if self._episode is not None:
            self._episode.robot.stop()
        self._clock.resume()

    def _later(self, save: Callable[[], Path]) -> "Future[Path]":
        """Let the engine's thread save something once it has nothing else to do."""
        future: Future[Path] = Future()

        def run() -> None:
            try:
                future.set_result(save())
            except Exception as error:
                future.set_exception(error)

        self._jobs.put(run)
        return future

    def _save_film(self, path: Path) -> Path:
        episode, caption = self._finished()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, episode.policy, episode.record, caption)
        return path

    def _save_recording(self, path: Path) -> Path:
        episode, caption = self._finished()
        open_loop = episode.choices.controller == "open_loop"
        write_recording(path, episode.policy, episode.record, caption, open_loop=open_loop)
        return path

    def _finished(self) -> tuple[Episode, str]:
        """Return the episode that has ended by itself, its record complete, and a caption."""
        episode = self._episode
        if episode is None or episode.report is None or episode.robot.was_stopped:
            raise InputError("episode to save", got="none that is over", cure="wait until the episode has ended")
        choices = episode.choices
        if len(episode.record.executed) == 0:  # saved for the first time: complete the record
            finish(episode.policy, episode.controller, episode.robot, episode.report, episode.record, choices.seed)
        return episode, f"{choices.task}, seed {choices.seed}, {choices.controller}: {self._phase}"
