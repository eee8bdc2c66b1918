"""An episode that one can play with while it runs: paused, taken chunk by chunk, its cube pushed about.

The player's own thread holds the simulated world, so that what it is asked to do (`Player.ask`) happens between two
control steps, and what it shows (`Player.shown`) is one whole value, replaced after each step. Nobody has to look: a
page that is closed stops nothing but the view.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from torch import Tensor

from foreact.control.controller import Turn
from foreact.errors import ConfigurationError
from foreact.policy.controllers import PolicyController
from foreact.policy.policy import Policy
from foreact.policy.viewer import Frames, LatentViewer
from foreact.simulation.disturbances import Disturbance
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.world import World
from foreact.types import ActionChunk, Observation

Loop = Literal["closed loop", "open loop"]
LATE_MS = 5.0
"""A command later than that after its deadline counts as late."""
WAIT_S = 0.05
"""While nothing runs, the player looks so often for what it is asked."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Which episode is played."""

    task: str = "lift_cube"
    """Name of one of our own tasks."""
    loop: Loop = "closed loop"
    """Whether the policy looks after each chunk, or believes what it imagined."""
    disturbance: str = "none"
    """A level or kind of disturbance."""
    seed: int = 1_000_000
    """Of where things are, of what goes wrong, and of the policy's noise."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One instant of an episode."""

    episode: Episode
    positions_m: np.ndarray
    """[bodies, 3] of the world's model."""
    quaternions: np.ndarray
    """[bodies, 4], w first."""
    camera: np.ndarray
    """uint8 [height, width, 3]: what the policy's first camera sees."""
    imagined: np.ndarray | None
    """uint8 [height, width, 3]: what was imagined for this instant before the chunk began; None before the first."""
    film: np.ndarray | None
    """uint8 [time, height, width, 3]: all that is imagined of the chunk under way."""
    state: Literal["paused", "computing", "executing", "succeeded", "time is up"] = "paused"
    stage: str = ""
    """Of the task that comes next."""
    num_steps: int = 0
    """Control steps since the episode began."""
    chunk_ms: float = 0.0
    """How long the last chunk took to compute."""
    disagreements: tuple[float, ...] = ()
    """Of each chunk: how far what was seen is from what had been imagined."""
    num_late: int = 0
    """Commands that came late, of those executed in real time."""


@dataclass(kw_only=True)
class _Playing:
    """The moving parts of one episode; belongs to the player's thread."""

    env: BimanualEnv
    controller: PolicyController
    viewer: LatentViewer
    shown: Shown
    actions: list[np.ndarray] = field(default_factory=list)
    """Decided, not executed yet."""
    executed: list[np.ndarray] = field(default_factory=list)
    seen: list[dict[str, np.ndarray]] = field(default_factory=list)
    imagined: Frames | None = None
    num_in_chunk: int = 0


class Player:
    """Plays episodes in a thread of its own, until it is closed."""

    def __init__(self, policy: Policy, episode: Episode | None = None, *, speed: float = 1.0):
        """Begin an episode, paused, as soon as the thread runs.

        Args:
            policy: Drives the robot.
            episode: The first one.
            speed: Times as fast as real time; 0: as fast as the machine can.

        Raises:
            ConfigurationError: The policy is not for the robot of our own scene.
        """
        if policy.embodiment.name != "aloha":
            raise ConfigurationError(
                "policy to play with",
                got=f"one that drives {policy.embodiment.name!r}",
                allowed="one that drives 'aloha'",
            )
        self.policy, self._speed = policy, speed
        self._asked: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._running, self._chunks_left = False, 0
        self._closing = threading.Event()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._playing: _Playing | None = None
        self._next_s = 0.0
        first = episode or Episode()
        self._thread = threading.Thread(target=self._run, args=(first,), name="foreact-player", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    @property
    def shown(self) -> Shown:
        """The present instant: a value that does not change any more."""
        assert self._playing is not None
        return self._playing.shown

    @property
    def world(self) -> World:
        """The world's model, for whoever draws it; its state belongs to the player's thread."""
        assert self._playing is not None
        return self._playing.env.world

    def play(self) -> None:
        """Go on until told otherwise."""
        self.ask(lambda: self._go(chunks=None))

    def play_chunk(self) -> None:
        """Compute one chunk, execute it, and pause."""
        self.ask(lambda: self._go(chunks=1))

    def pause(self) -> None:
        """Stop after the control step under way."""
        self.ask(self._stop)

    def begin(self, episode: Episode) -> None:
        """Begin another episode, or the same one anew; it goes on running if one ran."""
        self.ask(lambda: self._begin(episode))

    def move_cube(self, x_m: float, y_m: float) -> None:
        """Put the task's first cube somewhere on the table, unless an arm holds it."""
        self.ask(lambda: self._move_cube(np.array([x_m, y_m])))

    def ask(self, what: Callable[[], None]) -> None:
        """Have something done by the player's thread between two control steps."""
        self._asked.put(what)

    def settle(self, timeout_s: float = 60.0) -> None:
        """Return once all that was asked before has been done."""
        done = threading.Event()
        self.ask(done.set)
        done.wait(timeout_s)
        if self._error is not None:
            raise self._error

    def wait_until_paused(self, timeout_s: float = 120.0) -> bool:
        """Return whether the player has come to rest within a time."""
        self.settle(timeout_s)
        end = time.monotonic() + timeout_s
        while self._running and time.monotonic() < end:
            time.sleep(0.02)
        return not self._running

    def close(self) -> None:
        """End the thread and free the world."""
        self._closing.set()
        self._thread.join(timeout=30)

    # What follows runs in the player's thread.

    def _run(self, episode: Episode) -> None:
        try:
            self._begin(episode)
            self._ready.set()
            while not self._closing.is_set():
                self._do_what_was_asked(wait=not self._running)
                if self._running:
                    self._tick()
        except BaseException as error:  # shown to whoever asks next
            self._error = error
        finally:
            self._ready.set()
            self._running = False
            if self._playing is not None:
                self._playing.env.close()

    def _do_what_was_asked(self, *, wait: bool) -> None:
        try:
            self._asked.get(timeout=WAIT_S if wait else None, block=wait)()
            while True:
                self._asked.get_nowait()()
        except queue.Empty:
            pass

    def _begin(self, episode: Episode) -> None:
        if self._playing is not None:
            self._playing.env.close()
        policy = self.policy
        env = BimanualEnv(
            episode.task, cameras=policy.embodiment.cameras, disturbance=Disturbance(name=episode.disturbance)
        )
        _, info = env.reset(seed=episode.seed)
        viewer = LatentViewer(policy.networks.vae, policy.embodiment.layout)

        def note(latents: Tensor) -> None:
            viewer.show(latents)

        controller = PolicyController(
            policy,
            env.instruction,
            mode="synchronous" if episode.loop == "closed loop" else "open_loop",
            seed=episode.seed,
            on_observed=note,
        )
        shown = Shown(
            episode=episode,
            positions_m=env.world.data.xpos.copy(),
            quaternions=env.world.data.xquat.copy(),
            camera=env.images()[env.cameras[0]],
            imagined=None,
            film=None,
            stage=info["stage"],
        )
        self._playing = _Playing(env=env, controller=controller, viewer=viewer, shown=shown)

    def _go(self, chunks: int | None) -> None:
        if self.shown.state in ("succeeded", "time is up"):
            self._begin(self.shown.episode)
        self._running, self._chunks_left = True, -1 if chunks is None else chunks
        self._next_s = time.monotonic()

    def _stop(self) -> None:
        self._running = False
        if self.shown.state not in ("succeeded", "time is up"):
            self._show(state="paused")

    def _tick(self) -> None:
        """Compute a chunk if none is left, or execute one action in real time."""
        playing = self._playing
        assert playing is not None
        if not playing.actions:
            if self._chunks_left == 0:
                return self._stop()
            self._chunks_left -= 1
            return self._compute(playing)
        self._keep_time()
        return self._execute(playing)

    def _compute(self, playing: _Playing) -> None:
        self._show(state="computing")
        begun = time.perf_counter()
        chunk = self._next_chunk(playing)
        chunk_ms = 1e3 * (time.perf_counter() - begun)
        playing.actions, playing.num_in_chunk = list(chunk.actions), 0
        playing.executed, playing.seen = [], []
        prediction = playing.controller.session.prediction
        latents = None if prediction is None else prediction.latents
        playing.imagined = None if latents is None else playing.viewer.peek(latents)
        found = playing.shown.disagreements
        if chunk.disagreement is not None:
            found = (*found, chunk.disagreement)
        film = None if playing.imagined is None else playing.imagined[playing.env.cameras[0]]
        self._show(state="executing", chunk_ms=chunk_ms, disagreements=found, film=film)
        self._next_s = time.monotonic()

    def _next_chunk(self, playing: _Playing) -> ActionChunk:
        if not playing.executed:
            observation = Observation(images=playing.env.images(), state=playing.env.state(), time_s=0.0)
            return playing.controller.begin(observation)
        images = {camera: np.stack([frame[camera] for frame in playing.seen]) for camera in playing.env.cameras}
        executed = np.stack(playing.executed)
        return playing.controller.proceed(
            Turn(images=images, executed=executed, under_way=executed[:0], prefix=executed[:0])
        )

    def _keep_time(self) -> None:
        if not self._speed:
            return
        self._next_s += playing_tick_s(self.policy) / self._speed
        ahead_s = self._next_s - time.monotonic()
        if ahead_s > 0:
            time.sleep(ahead_s)
        elif -ahead_s > LATE_MS / 1e3:
            self._next_s = time.monotonic()  # what is lost is not caught up with
            self._show(num_late=self.shown.num_late + 1)

    def _execute(self, playing: _Playing) -> None:
        action, env = playing.actions.pop(0), playing.env
        info = env.step(action)[-1]
        playing.executed.append(action)
        stride = self.policy.embodiment.timing.camera_stride
        changes: dict = {}
        if len(playing.executed) % stride == 0:
            pictures = env.images()
            playing.seen.append(pictures)
            changes["camera"] = pictures[env.cameras[0]]
            if playing.imagined is not None:
                film = playing.imagined[env.cameras[0]]
                changes["imagined"] = film[min(len(playing.seen), len(film)) - 1]
        self._show(stage=info["stage"], num_steps=env.num_steps, **changes)
        if info["success"] or env.num_steps >= env.max_steps:
            self._running, playing.actions = False, []
            self._show(state="succeeded" if info["success"] else "time is up")

    def _move_cube(self, position_m: np.ndarray) -> None:
        env = self.world
        cube = env.cubes[0]
        if any(env.holds(side, cube) for side in ("left", "right")):
            return
        env.move_cube(cube, position_m)
        env.show(env.positions())  # bodies follow their joints
        assert self._playing is not None
        self._show(camera=self._playing.env.images()[self._playing.env.cameras[0]])

    def _show(self, **changes: object) -> None:
        playing = self._playing
        assert playing is not None
        data = playing.env.world.data
        playing.shown = replace(playing.shown, positions_m=data.xpos.copy(), quaternions=data.xquat.copy(), **changes)


def playing_tick_s(policy: Policy) -> float:
    """Return the seconds between two commands."""
    return 1.0 / policy.embodiment.timing.action_hz
