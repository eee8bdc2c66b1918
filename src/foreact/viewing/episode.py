"""What there is to see of an episode that runs in another thread, brought up to date whenever it is asked for."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from foreact.control.dialogue import Placed
from foreact.control.report import DriveReport
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.imagination import ChunkDecoder
from foreact.policy.attention import ActionAttention
from foreact.policy.policy import Policy
from foreact.policy.viewer import squared_errors
from foreact.viewing.choices import PlayChoices
from foreact.viewing.delay import DelayedWorker
from foreact.viewing.drawing import attention_picture
from foreact.viewing.robot import PlayRobot, Poses
from foreact.viewing.watching import WatchedController, heat_tiles

Phase = Literal["loading", "running", "paused", "succeeded", "time up", "stopped", "failed"]
Span = tuple[float, float]
"""Seconds since the episode began: from, to."""


@dataclass(kw_only=True)
class Episode:
    """One episode as the thread that runs it leaves it to others; its lists only ever grow."""

    choices: PlayChoices
    policy: Policy
    robot: PlayRobot
    record: EpisodeRecord
    controller: WatchedController
    worker: DelayedWorker
    answers: list[Placed] = field(default_factory=list)
    """What the controller answered, as it took effect."""
    attention: ActionAttention | None = None
    """Where the policy looked for the first action of the chunk that took effect last; None if nobody watched."""
    report: DriveReport | None = None
    """Set at the end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """Everything that a page shows of one robot at one instant."""

    number: int
    """Of the episode, counted from 1 since the engine was started; 0 before the first."""
    phase: Phase
    problem: str | None = None
    """Why it failed."""
    choices: PlayChoices
    poses: Poses | None = None
    """Where everything is; None before the first episode."""
    time_s: float = 0.0
    """Since the episode began."""
    stage: str = ""
    """What the task asks for now."""
    progress: float = 0.0
    """Stages achieved over stages."""
    num_chunks: int = 0
    """Chunks that took effect."""
    seen: np.ndarray | None = None
    """uint8 [height, width, 3]: the last picture of the policy's first camera, at the size at which the policy sees."""
    imagined: np.ndarray | None = None
    """The same, as it was imagined of that moment; None if it was not."""
    film: np.ndarray | None = None
    """uint8 [frames, height, width, 3]: what the latest chunk imagines."""
    film_time_s: float = 0.0
    """When the film's first frame is, or was, to be seen."""
    errors: tuple[tuple[float, float], ...] = ()
    """(seconds, error) of every picture that was imagined before: root mean square over pixels, 0 to 1."""
    disagreement: float | None = None
    """How far the latents seen last were from those imagined; None if they were not compared."""
    threshold: float | None = None
    """The disagreement below which 95 % or so of calibration episodes stayed; None if the policy was not calibrated."""
    attention: np.ndarray | None = None
    """A picture of where the policy looked for the latest chunk's first action; None if that is not known."""
    computing: tuple[Span, ...] = ()
    """When chunks were computed."""
    standing: tuple[Span, ...] = ()
    """When the robot stood still."""
    events: tuple[str, ...] = ()
    """What went wrong by itself, in words."""
    late_share: float | None = None
    """Commands given more than 5 ms late over all commands; known at the end."""


class EpisodeView:
    """Decodes and measures what is new in an episode. It belongs to one thread."""

    def __init__(self, episode: Episode):
        """Show nothing yet."""
        self.episode = episode
        self._timing = episode.policy.embodiment.timing
        self._layout = episode.policy.embodiment.layout
        self._camera = self._layout.cameras[0]
        open_loop = episode.choices.controller == "open_loop"
        self._decoder = ChunkDecoder(episode.policy, episode.record, open_loop=open_loop)
        self._imagined: dict[int, np.ndarray] = {}
        """Number of a picture to what was imagined of it last."""
        self._film: tuple[np.ndarray, int] | None = None
        """The latest chunk's frames, and the number of the picture that the first of them is."""
        self._num_answers, self._num_commands, self._num_pictures = 0, 1, 0
        self._seen: np.ndarray | None = None
        self._errors: list[tuple[float, float]] = []
        self._computing: list[Span] = []
        self._standing: list[Span] = []
        self._disagreement: float | None = None
        self._looked: tuple[ActionAttention, np.ndarray] | None = None
        """An attention, and the picture made of it."""

    def snapshot(self, *, number: int, phase: Phase, now_s: float) -> Snapshot:
        """Return what can be seen now.

        Args:
            number: Of the episode.
            phase: What it is doing.
            now_s: The control loop's clock.
        """
        episode = self.episode
        self._take_answers()
        self._take_pictures()
        self._take_commands()
        robot, info = episode.robot, episode.robot.info
        time_s = self._seconds(robot.poses.step)
        shown = len(self._errors) and self._num_pictures - 1 in self._imagined
        return Snapshot(
            number=number,
            phase=phase,
            choices=episode.choices,
            poses=robot.poses,
            time_s=time_s,
            stage=str(info["stage"]),
            progress=float(info["progress"]),
            num_chunks=sum(bool(len(placed.chunk.actions)) for placed in episode.answers),
            seen=self._seen,
            imagined=self._imagined[self._num_pictures - 1] if shown else None,
            film=self._film[0] if self._film else None,
            film_time_s=self._time_of(self._film[1]) if self._film else 0.0,
            errors=tuple(self._errors),
            disagreement=self._disagreement,
            threshold=episode.controller.threshold,
            attention=self._attention_picture(),
            computing=(*self._computing, *self._being_computed(now_s)),
            standing=tuple(self._standing),
            events=tuple(f"{event['kind']} at step {event['step']}" for event in info.get("disturbances", [])),
            late_share=episode.report.late_share if episode.report else None,
        )

    def _take_answers(self) -> None:
        for placed in self.episode.answers[self._num_answers :]:
            self._num_answers += 1
            times_s = self.episode.robot.times_s
            start_s = times_s[0] if times_s else placed.asked_s
            self._computing.append((max(0.0, placed.asked_s - start_s), placed.answered_s - start_s))
            if placed.chunk.disagreement is not None:
                self._disagreement = placed.chunk.disagreement
            frames = self._decoder.decode(placed)
            if frames is None:
                continue
            first = 1 + placed.begin_tick // self._timing.camera_stride
            self._film = (frames[self._camera], first)
            self._imagined.update(enumerate(frames[self._camera], first))

    def _take_pictures(self) -> None:
        record = self.episode.record
        for number in range(self._num_pictures, len(record.picture_steps)):
            clip = {camera: image[None] for camera, image in record.pictures[number].items()}
            self._seen = seen = dict(self._layout.pictures(clip))[self._camera][0]
            self._num_pictures = number + 1
            guess = self._imagined.get(number)
            if guess is not None:
                error = squared_errors({self._camera: guess[None]}, {self._camera: seen[None]})[0]
                self._errors.append((self._seconds(record.picture_steps[number]), float(error) ** 0.5))

    def _take_commands(self) -> None:
        """Find the times in which the robot was told the same again and again."""
        commands = self.episode.record.commands
        for step in range(self._num_commands, len(commands) - 1):  # the last one still goes on
            self._num_commands = step + 1
            if not np.array_equal(commands[step], commands[step - 1]):
                continue
            begin_s, end_s = self._seconds(step), self._seconds(step + 1)
            if self._standing and self._standing[-1][1] == begin_s:
                self._standing[-1] = (self._standing[-1][0], end_s)
            else:
                self._standing.append((begin_s, end_s))

    def _attention_picture(self) -> np.ndarray | None:
        found = self.episode.attention
        if found is None:
            return None
        if self._looked is None or self._looked[0] is not found:
            film = None if self._film is None else self._film[0]
            tiles = heat_tiles(self.episode.policy, found, picture=self._remembered, film=film)
            self._looked = found, attention_picture(tiles, found.past_actions + found.own_actions)
        return self._looked[1]

    def _remembered(self, number: int) -> np.ndarray | None:
        """Return a picture as the policy remembers it: seen, or in open loop imagined after the first one."""
        if number and self.episode.choices.controller == "open_loop":
            return self._imagined.get(number)
        pictures = self.episode.record.pictures
        if number >= len(pictures):
            return None
        clip = {camera: image[None] for camera, image in pictures[number].items()}
        return np.asarray(dict(self._layout.pictures(clip))[self._camera][0], np.uint8)

    def _being_computed(self, now_s: float) -> list[Span]:
        """Return the time for which a chunk has been computed that has not come yet."""
        asked_s, times_s = self.episode.worker.asked_s, self.episode.robot.times_s
        if self.episode.report is not None or asked_s is None or not times_s:
            return []
        return [(max(0.0, asked_s - times_s[0]), now_s - times_s[0])]

    def _time_of(self, picture: int) -> float:
        """Return the seconds at which a picture was taken, or will be if the robot goes on without a stop."""
        steps, stride = self.episode.record.picture_steps, self._timing.camera_stride
        if picture < len(steps):
            return self._seconds(steps[picture])
        last = len(steps) - 1
        begun = max(steps[last], self.episode.robot.poses.step - stride) if steps else 0
        return self._seconds(begun) + stride * (picture - last) / self._timing.action_hz

    def _seconds(self, step: int) -> float:
        """Return the time of a control step since the first one; that of the last one if it is still to come."""
        times_s = self.episode.robot.times_s
        return times_s[min(step, len(times_s) - 1)] - times_s[0] if times_s else 0.0
