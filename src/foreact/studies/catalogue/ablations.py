"""Which of the design's parts earn their place?"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from foreact.studies.catalogue.grid import TWO_TASKS, expert, in_simulation, small, trained
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim
from foreact.studies.measures import HeldOut
from foreact.training.recipe import Recipe

NONE, CLEAN, COPIED, RANDOM = "none", "clean history", "copied action stream", "random action stream"
SHARED, SHARED_TIME = "shared backbone, equal parameters", "shared backbone, equal time"
SHARED_WIDTH, SHARED_FFN_DIM = 152, 544
"""1,881,902 weights in all, where separate streams have 1,889,950."""
SHARED_STEP_COST = 1.42
"""Processor time of its training step, in those of separate streams (`benchmarks/training_step.py`)."""
SUCCESS, HALF_IMAGINED, HELD_OUT = "success", "success at s = 0.5", "action error"


def ablations() -> Study:
    """Which parts of the design earn their place?

    One part is changed at a time: history is never noised in training; the action stream begins copied or random rather
    than interpolated; both kinds of token share one backbone of as many weights, for as many steps or for as much time.
    A part earns its place if the policy without it succeeds less often, by the interval, on all tasks together; it may
    go if the policy without it is no more than 5 points worse.
    """
    changed = dict(_changed(small()))
    cells = tuple(
        Cell(
            labels={"task": task, "change": change, "measured": SUCCESS},
            policy=trained(settings, TWO_TASKS),
            measure=in_simulation(task),
        )
        for change, settings in changed.items()
        for task in TWO_TASKS
    )
    return Study(
        name="ablations",
        question="Which parts of the design earn their place? One is changed at a time.",
        cells=(*cells, *_half_imagined(changed), *_held_out(changed)),
        reference={"change": NONE},
        claims=tuple(_claims(list(changed)[1:])),
    )


def _changed(own: Recipe) -> Iterator[tuple[str, Recipe]]:
    """Yield what is changed and the settings with it."""
    yield NONE, own
    yield CLEAN, replace(own, corruption=replace(own.corruption, noisy_history_probability=0.0))
    shared = replace(own, transformer=replace(own.transformer, **shared_backbone()))
    steps = round(own.optimization.num_steps / SHARED_STEP_COST)
    yield SHARED, shared
    yield SHARED_TIME, replace(shared, optimization=replace(own.optimization, num_steps=steps))
    yield COPIED, replace(own, action_initialization="copied")
    yield RANDOM, replace(own, action_initialization="random")


def shared_backbone() -> dict[str, Any]:
    """Return the sizes of a transformer in which both streams share their blocks, with as many weights."""
    return {
        "backbone": "shared",
        "action_embedding": "linear",
        "video_width": SHARED_WIDTH,
        "action_width": SHARED_WIDTH,
        "video_ffn_dim": SHARED_FFN_DIM,
        "action_ffn_dim": SHARED_FFN_DIM,
    }


def _half_imagined(changed: dict[str, Recipe]) -> Iterator[Cell]:
    """Yield what noisy history is there for: actions that read a half-finished imagination."""
    for change in (NONE, CLEAN):
        for task in TWO_TASKS:
            yield Cell(
                labels={"task": task, "change": change, "measured": HALF_IMAGINED},
                policy=trained(changed[change], TWO_TASKS),
                changes={"s_stop": 0.5},
                measure=in_simulation(task),
            )


def _held_out(changed: dict[str, Recipe]) -> Iterator[Cell]:
    for change, settings in changed.items():
        for task in TWO_TASKS:
            yield Cell(
                labels={"task": task, "change": change, "measured": HELD_OUT},
                policy=trained(settings, TWO_TASKS),
                measure=HeldOut(dataset=expert(task)),
            )


def _claims(changes: list[str]) -> Iterator[Claim]:
    def side(change: str, measured: str) -> dict[str, str]:
        return {"change": change, "measured": measured}

    for change in changes:
        name, own, other = f"the design beats: {change}", side(NONE, SUCCESS), side(change, SUCCESS)
        yield Claim(name=name, first=own, second=other)
        name = f"no more than 5 points worse than the design: {change}"
        yield Claim(name=name, first=other, second=own, more_than=-0.05)
    yield Claim(
        name="noisy history helps where imagining stops half-way",
        first=side(NONE, HALF_IMAGINED),
        second=side(CLEAN, HALF_IMAGINED),
    )
    for change in changes:
        yield Claim(
            name=f"greater action error on held-out episodes than the design: {change}",
            first=side(change, HELD_OUT),
            second=side(NONE, HELD_OUT),
            figure="action_error",
        )
