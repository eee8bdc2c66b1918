"""The turns between robot and controller: what is asked when, and what becomes of the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from foreact.control.config import ControlConfig
from foreact.control.controller import Controller, Turn
from foreact.control.executor import Awaited, Executor
from foreact.control.latency import DelayEstimate
from foreact.control.pacing import Pacing, Plan
from foreact.control.worker import Worker
from foreact.errors import InputError
from foreact.types import ActionChunk, Observation


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An answer, as it takes effect."""

    index: int
    """0 for the first chunk, then counted up, answers without actions too."""
    chunk: ActionChunk
    """Without actions if the controller must see first."""
    begin_tick: int
    """Policy tick of the chunk's first action."""
    arrival_tick: int
    """The first policy tick that was not executed when it came; actions before it are dropped."""
    asked_s: float
    """When it was asked for, by the clock."""
    answered_s: float
    """When it was ready."""
    num_under_way: int
    """Actions between the turn and the chunk's beginning."""
    num_prefix: int
    """Its first actions that were decided already."""
    delay_ticks: int
    """Ticks it had been reckoned to take."""
    late: bool
    """The robot had to hold or slow down for it, or its undecided beginning had passed."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    plan: Plan
    awaited: Awaited
    delay_ticks: int
    idle_before: int


class Dialogue:
    """Asks for chunks and puts them in the executor's queue; one question at a time."""

    def __init__(self, controller: Controller, worker: Worker, config: ControlConfig, executor: Executor):
        """Ask nothing yet."""
        self._controller, self._worker, self._config, self._executor = controller, worker, config, executor
        self._pacing = Pacing(config=config, waits=controller.waits, inpaints=controller.inpaints)
        self._delay = DelayEstimate(config.delay, config.action_hz)
        self._question: _Question | None = None
        self._chunk_begin, self._num_answers, self._told_tick = 0, 0, 0
        self._must_see = False
        self._frames: list[Mapping[str, np.ndarray]] = []
        self._no_frames: Mapping[str, np.ndarray] = {}
        self.stand_tick: int | None = None
        """The policy tick at which the robot is to stand still until an answer comes; None: none is meant."""

    @property
    def awaited(self) -> Awaited | None:
        """The answer that is awaited, if one is."""
        return self._question.awaited if self._question else None

    def begin(self, observation: Observation, now_s: float) -> None:
        """Ask for the first chunk."""
        self._no_frames = {camera: np.empty((0, *i.shape), i.dtype) for camera, i in observation.images.items()}
        plan = Plan(begin_tick=0, num_under_way=0, num_prefix=0)
        self._ask(plan, now_s, partial(self._controller.begin, observation), stands=True)

    def see(self, images: Mapping[str, np.ndarray]) -> None:
        """Keep a camera frame for the next turn."""
        self._frames.append(images)

    def exchange(self, now_s: float) -> list[Placed]:
        """Take the answer that has come, ask what is due, and so on until there is neither.

        Raises:
            InputError: A chunk has not as many actions as was agreed, or such as are not finite, or none though nothing
                was under way.
        """
        placed: list[Placed] = []
        while True:
            if self._question and (answer := self._worker.poll(now_s)):
                placed.append(self._take(self._question, answer.value, answer.ready_s))
            plan = self._due()
            if plan is None:
                return placed
            self._executor.tally.num_turns += 1
            self._ask(plan, now_s, self._turn(plan), stands=self._must_see or self._pacing.waits)

    def _due(self) -> Plan | None:
        """The turn to be taken now."""
        tick = self._executor.queue.next_tick
        if self._question:
            return None
        if self._must_see:
            return Plan(begin_tick=tick, num_under_way=0, num_prefix=0) if tick == self.stand_tick else None
        return self._pacing.plan(
            tick=tick,
            chunk_begin=self._chunk_begin,
            queue_end=self._executor.queue.end,
            delay_ticks=self._delay.ticks,
        )

    def _ask(self, plan: Plan, now_s: float, call: partial[ActionChunk], *, stands: bool) -> None:
        self._question = _Question(
            plan=plan,
            awaited=Awaited(asked_s=now_s, planned_stand=stands),
            delay_ticks=self._delay.ticks,
            idle_before=self._num_idle,
        )
        self._worker.submit(call)

    def _turn(self, plan: Plan) -> partial[ActionChunk]:
        """What the worker is to call; pictures are stacked there, since that takes time the control loop has not."""
        queue, executed = self._executor.queue, self._executor.tally.executed[self._told_tick :]
        under_way = queue.after(queue.next_tick, plan.num_under_way)
        prefix = queue.after(plan.begin_tick, plan.num_prefix)
        executed = np.stack(executed) if executed else np.zeros_like(under_way[:0])
        frames, self._frames, self._told_tick = self._frames, [], queue.next_tick
        return partial(_proceed, self._controller, frames, self._no_frames, executed, under_way, prefix)

    def _take(self, question: _Question, chunk: ActionChunk, ready_s: float) -> Placed:
        """Put an answer into effect."""
        self._question = None
        plan, queue = question.plan, self._executor.queue
        if len(chunk.actions):
            late = self._place(question, chunk, ready_s - question.awaited.asked_s)
        else:
            late = self._see_first(question)
        self._num_answers += 1
        return Placed(
            index=self._num_answers - 1,
            chunk=chunk,
            begin_tick=plan.begin_tick,
            arrival_tick=queue.next_tick,
            asked_s=question.awaited.asked_s,
            answered_s=ready_s,
            num_under_way=plan.num_under_way,
            num_prefix=plan.num_prefix,
            delay_ticks=question.delay_ticks,
            late=late,
        )

    def _place(self, question: _Question, chunk: ActionChunk, delay_s: float) -> bool:
        """Queue a chunk's actions from its prefix on; True if it is late."""
        per_frame, most = self._config.actions_per_latent_frame, self._config.actions_per_chunk
        if len(chunk.actions) > most or len(chunk.actions) % per_frame:
            allowed = f"multiples of {per_frame} up to {most}"
            raise InputError("actions of a chunk", got=len(chunk.actions), allowed=allowed)
        plan, tally, queue = question.plan, self._executor.tally, self._executor.queue
        undecided = plan.begin_tick + plan.num_prefix
        passed = queue.next_tick > undecided or self._num_idle > question.idle_before
        late = passed and not question.awaited.planned_stand
        queue.put(undecided, chunk.actions[plan.num_prefix :])
        if self._num_answers:
            self._delay.measured(delay_s)
            tally.delays_s.append(delay_s)
        else:
            self._delay.measured_first(delay_s)
        tally.num_late_chunks += late
        self._chunk_begin, self._must_see = plan.begin_tick, False
        self.stand_tick = self._pacing.stand_tick(plan.begin_tick)
        return late

    def _see_first(self, question: _Question) -> bool:
        """Make the robot stand still at the first whole latent frame it can, and ask again there."""
        plan, per_frame = question.plan, self._config.actions_per_latent_frame
        if not plan.num_under_way + plan.num_prefix:
            raise InputError("answer", got="no actions", allowed="actions: nothing was under way, all was seen")
        ahead = max(plan.begin_tick, self._executor.queue.next_tick)
        self.stand_tick, self._must_see = -(-ahead // per_frame) * per_frame, True
        self._executor.tally.num_fallbacks += 1
        return False

    @property
    def _num_idle(self) -> int:
        return self._executor.tally.num_idle_ticks + self._executor.tally.num_slowed_ticks


def _proceed(
    controller: Controller,
    frames: list[Mapping[str, np.ndarray]],
    no_frames: Mapping[str, np.ndarray],
    executed: np.ndarray,
    under_way: np.ndarray,
    prefix: np.ndarray,
) -> ActionChunk:
    images = {camera: np.stack([f[camera] for f in frames]) for camera in no_frames} if frames else no_frames
    return controller.proceed(Turn(images=images, executed=executed, under_way=under_way, prefix=prefix))
