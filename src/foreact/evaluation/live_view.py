"""An episode in Rerun's viewer: cameras, what was imagined, actions, disagreement and timing, on one time line.

The control loop is not asked for anything: an episode's record only ever grows, and the view shows what is new in it.
A recording is written after each episode; a viewer is fed while it runs, by a thread of its own.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from foreact.control.dialogue import Placed
from foreact.embodiments import Embodiment
from foreact.errors import ConfigurationError, install_command
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.imagination import ChunkDecoder
from foreact.files import write_whole
from foreact.policy.policy import Policy

APPLICATION = "foreact"
LIVE = "live"
RECORDING = ".rrd"
ADDRESS = "rerun+http"
STEPS, SECONDS = "control_step", "time"
PERIOD_S = 0.1
"""A live view looks so often for what is new."""
PAUSE_S = 1.0
"""Between two episodes on the time line."""
JPEG_QUALITY = 90
REACH_S = 10.0
"""A viewer must be reached within that."""


@contextmanager
def open_view(where: str, policy: Policy) -> Iterator["LiveView"]:
    """Open a view; when it is closed a recording is written, and a viewer has been sent everything.

    Args:
        where: "live" opens a viewer here; a path that ends in .rrd is a recording; rerun+http://HOST:PORT/proxy is a
            viewer that is already open, here or elsewhere.
        policy: Whose episodes are shown.

    Raises:
        ConfigurationError: No such place, Rerun is not installed, or no viewer can be reached.
    """
    if where != LIVE and not where.endswith(RECORDING) and not where.startswith(ADDRESS):
        allowed = f"{LIVE}, a file that ends in {RECORDING}, {ADDRESS}://HOST:9876/proxy"
        raise ConfigurationError("view", got=where, allowed=allowed)
    rerun = _import_rerun()
    stream = rerun.RecordingStream(APPLICATION)
    layout = _blueprint(policy.embodiment)
    if where.endswith(RECORDING):
        recorded = stream.memory_recording()
        stream.send_blueprint(layout)
        yield LiveView(stream, policy, live=False)
        stream.flush()
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(where), recorded.drain_as_bytes())
        return
    _connect(stream, where, layout)
    yield LiveView(stream, policy, live=True)
    try:
        stream.flush(timeout_sec=REACH_S)
    except RuntimeError as error:
        warnings.warn(f"the viewer was gone before everything had arrived: {error}", stacklevel=2)


def _connect(stream: Any, where: str, layout: Any) -> None:
    """Reach a viewer, or say that there is none."""
    cure = f"record it instead: --view demo{RECORDING}"
    if where == LIVE and sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        raise ConfigurationError("view", got="live, without a display", cure=cure)
    try:
        if where == LIVE:
            _spawn(stream, layout)
        else:
            stream.connect_grpc(where, default_blueprint=layout)
        stream.flush(timeout_sec=REACH_S)
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError("view", got=f"no viewer at {where}", cure=cure) from error


def _spawn(stream: Any, layout: Any) -> None:
    """Start the viewer that was installed next to this Python, whether or not its environment is activated."""
    path = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    try:
        stream.spawn(default_blueprint=layout)
    finally:
        os.environ["PATH"] = path


def _import_rerun() -> Any:
    try:
        import rerun
    except ImportError as error:
        raise ConfigurationError(
            "view", got="rerun-sdk is not installed", cure=f"install it: {install_command('view')}"
        ) from error
    return rerun


class LiveView:
    """One stream of Rerun's, to which one episode after another is sent."""

    def __init__(self, stream: Any, policy: Policy, *, live: bool):
        """Show nothing yet.

        Args:
            stream: A `rerun.RecordingStream`.
            policy: Whose episodes are shown.
            live: While they run, from another thread, or afterwards.
        """
        self._stream, self._policy, self._live = stream, policy, live
        self._next_step = 0
        _name_series(stream, policy)

    @contextmanager
    def watch(self, record: EpisodeRecord, title: str, *, open_loop: bool = False) -> Iterator[None]:
        """Show an episode that runs meanwhile; at the end all of it has been sent.

        Args:
            record: Of the episode.
            title: Of the episode.
            open_loop: Each chunk was imagined upon the one before, not upon what was seen.
        """
        sender = EpisodeSender(
            self._stream, self._policy, record, title, first_step=self._next_step, open_loop=open_loop
        )
        over = Event()
        thread = Thread(target=_send_until, args=(sender, over), name="foreact-view", daemon=True)
        if self._live:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if self._live:
                thread.join()
            sender.send_new()
            pause = round(PAUSE_S * self._policy.embodiment.timing.action_hz)
            self._next_step += len(record.commands) + pause


def write_recording(path: Path, policy: Policy, record: EpisodeRecord, title: str, *, open_loop: bool = False) -> None:
    """Write one episode that is over as a Rerun recording (.rrd); opened by `rerun FILE`.

    Raises:
        ConfigurationError: The path does not end in .rrd, or Rerun is not installed.
    """
    with open_view(str(path), policy) as view, view.watch(record, title, open_loop=open_loop):
        pass


def _send_until(sender: "EpisodeSender", over: Event) -> None:
    while not over.wait(PERIOD_S):
        sender.send_new()


class EpisodeSender:
    """Sends what is new in one episode's record. Times are control steps of the episode: what the robot lived."""

    def __init__(
        self,
        stream: Any,
        policy: Policy,
        record: EpisodeRecord,
        title: str,
        *,
        first_step: int,
        open_loop: bool = False,
    ):
        """Send the title.

        Args:
            stream: A `rerun.RecordingStream`.
            policy: Decides in this episode.
            record: Grows meanwhile.
            title: Of the episode.
            first_step: Where on the time line it begins.
            open_loop: Each chunk was imagined upon the one before, not upon what was seen.
        """
        import rerun

        self._rerun, self._stream, self._policy, self._record = rerun, stream, policy, record
        self._first_step, self._timing = first_step, policy.embodiment.timing
        self._decoder = ChunkDecoder(policy, record, open_loop=open_loop)
        self._num_pictures, self._num_commands, self._num_answers = 0, 0, 0
        self._at(0)
        stream.log("events", rerun.TextLog(title, level="INFO"))

    def send_new(self) -> None:
        """Send whatever the record holds and was not sent."""
        record = self._record
        for number in range(self._num_pictures, len(record.picture_steps)):
            self._send_picture(number)
        for step in range(self._num_commands, len(record.commands)):
            self._send_command(step)
        for placed in record.answers[self._num_answers :]:
            self._send_answer(placed)

    def _send_picture(self, number: int) -> None:
        self._at(self._record.picture_steps[number])
        for camera, image in self._record.pictures[number].items():
            self._log_image(f"cameras/{camera}/seen", image)
        self._num_pictures = number + 1

    def _send_command(self, step: int) -> None:
        """What the robot was told: a command that is the last one again is standing still."""
        self._at(step)
        command = self._record.commands[step]
        self._log_actions("executed", command)
        stands = step > 0 and np.array_equal(command, self._record.commands[step - 1])
        self._log_scalar("robot/stands_still", float(stands))
        self._num_commands = step + 1

    def _send_answer(self, placed: Placed) -> None:
        self._num_answers += 1
        self._at(self._step_at(placed.answered_s))
        self._send_event(placed)
        self._log_scalar("chunk/delay_ms", 1e3 * (placed.answered_s - placed.asked_s))
        for stage, spent_ms in placed.chunk.stage_ms.items():
            self._log_scalar(f"chunk/stage_ms/{stage}", spent_ms)
        self._at(self._step_at(placed.asked_s))
        threshold = self._policy.config.disagreement_threshold
        if placed.chunk.disagreement is not None:
            self._log_scalar("disagreement/measured", placed.chunk.disagreement)
        if threshold is not None:
            self._log_scalar("disagreement/threshold", threshold)
        for number, action in enumerate(placed.chunk.actions):
            self._at(self._step_of(placed, placed.begin_tick + number))
            self._log_actions("predicted", action)
        self._send_imagined(placed)

    def _send_event(self, placed: Placed) -> None:
        text, level = f"chunk {placed.index} begins at action {placed.begin_tick}", "INFO"
        if not len(placed.chunk.actions):
            text, level = f"answer {placed.index}: must see first, the robot will stand still", "WARN"
        elif placed.late:
            text, level = f"chunk {placed.index} is late", "WARN"
        self._stream.log("events", self._rerun.TextLog(text, level=level))

    def _send_imagined(self, placed: Placed) -> None:
        """The imagined frames, each at the instant of which it is."""
        stride = self._timing.camera_stride
        for camera, clip in (self._decoder.decode(placed) or {}).items():
            for number, image in enumerate(clip, 1):
                self._at(1 + self._step_of(placed, placed.begin_tick + number * stride - 1))
                self._log_image(f"cameras/{camera}/imagined", image)

    def _step_of(self, placed: Placed, num_executed: int) -> int:
        """The control step before which so many actions were executed and the next one of this chunk was given.

        It is known from the picture after it: when a robot stands still, it does so right after a picture. For what is
        still to come, it is reckoned that the robot goes on.
        """
        stride, steps = self._timing.camera_stride, self._record.picture_steps
        picture, last = -(-num_executed // stride), len(steps) - 1
        if num_executed % stride == 0 and picture < last:
            picture += 1
        if picture <= last:
            return steps[picture] + num_executed - picture * stride
        ahead = placed.arrival_tick - last * stride
        begin = steps[last] + ahead if ahead <= 0 else max(steps[last] + ahead, self._step_at(placed.answered_s))
        return begin + num_executed - placed.arrival_tick

    def _step_at(self, time_s: float) -> int:
        return round((time_s - self._record.answers[0].asked_s) * self._timing.action_hz)

    def _log_actions(self, kind: str, action: np.ndarray) -> None:
        for side, entries in arm_entries(self._policy.embodiment).items():
            self._stream.log(f"actions/{side}/{kind}", self._rerun.Scalars(action[entries]))

    def _log_image(self, path: str, image: np.ndarray) -> None:
        self._stream.log(path, self._rerun.Image(image).compress(jpeg_quality=JPEG_QUALITY))

    def _log_scalar(self, path: str, value: float) -> None:
        self._stream.log(path, self._rerun.Scalars(value))

    def _at(self, step: int) -> None:
        """Set the time of what is logged next by this thread."""
        place = self._first_step + step
        self._stream.set_time(STEPS, sequence=place)
        self._stream.set_time(SECONDS, duration=place / self._timing.action_hz)


def arm_entries(robot: Embodiment) -> dict[str, list[int]]:
    """Return the degrees of freedom of each arm, its gripper last."""
    return {arm.side: [*arm.entries, *([arm.gripper.entry] if arm.gripper else [])] for arm in robot.arms}


def _name_series(stream: Any, policy: Policy) -> None:
    import rerun

    robot = policy.embodiment
    for side, entries in arm_entries(robot).items():
        names = [robot.dofs[entry].name.removeprefix(f"{side}_") for entry in entries]
        predicted = [f"{name}, predicted" for name in names]
        stream.log(f"actions/{side}/executed", rerun.SeriesLines(names=names), static=True)
        points = rerun.SeriesPoints(names=predicted, marker_sizes=[1.5] * len(names))
        stream.log(f"actions/{side}/predicted", points, static=True)


def _blueprint(robot: Embodiment) -> Any:
    import rerun.blueprint as rrb

    cameras = [
        rrb.Spatial2DView(origin=f"cameras/{camera}/{kind}", name=f"{camera}: {kind}")
        for camera in robot.cameras
        for kind in ("seen", "imagined")
    ]
    arms = [rrb.TimeSeriesView(origin=f"actions/{side}", name=f"{side} arm") for side in arm_entries(robot)]
    pictures = rrb.Grid(*cameras, grid_columns=2)
    left = rrb.Vertical(pictures, rrb.TextLogView(origin="events", name="events"), row_shares=[3, 1])
    right = rrb.Vertical(
        rrb.Tabs(*reversed(arms)),
        rrb.TimeSeriesView(origin="disagreement", name="disagreement of seen and imagined"),
        rrb.TimeSeriesView(origin="chunk", name="a chunk: delay and stages, ms"),
        rrb.TimeSeriesView(origin="robot", name="robot stands still"),
        row_shares=[3, 1, 1, 1],
    )
    return rrb.Blueprint(rrb.Horizontal(left, right), rrb.TimePanel(timeline=SECONDS))
