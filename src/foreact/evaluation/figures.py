"""Figures of an episode or a dream: actions, how good the imagination was, who waited for whom."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill, shorten
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from foreact.embodiments import Dof, Embodiment
from foreact.evaluation.dream import Dream
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.imagination import FrameErrors
from foreact.files import write_whole
from foreact.policy.policy import Policy
from foreact.policy.viewer import psnr_db

MOVES = 0.05
"""Least span of a degree of freedom that is drawn, as a share of the widest one of the same unit."""
MAX_ROWS = 8
"""More degrees of freedom than this are drawn in two columns."""
COMPUTING: dict[str, Any] = {"color": "C1", "label": "a chunk is computed"}
EXECUTING: dict[str, Any] = {"color": "C0", "alpha": 0.55, "label": "its actions are executed"}
STANDING: dict[str, Any] = {"color": "0.86", "label": "the robot stands still"}
MARKERS = ("o-", "s-", "^-", "v-")
DISAGREEMENT = (
    "Disagreement: how far what was seen is from what had been imagined\n"
    "(0: exactly as imagined; 1: by one standard deviation of the video VAE's latents)"
)
LOOKS = (COMPUTING, EXECUTING, STANDING)


def draw_actions(path: Path, policy: Policy, record: EpisodeRecord) -> None:
    """Draw every degree of freedom that moves: each chunk as predicted, and what was executed.

    Axes of the same unit span the same range, so that the noise of an arm at rest does not look like motion.
    """
    chunks = [placed.chunk.actions for placed, _ in record.spans()]
    starts = np.array([steps.start for _, steps in record.spans()])
    title = "Actions: predicted and executed"
    _draw_chunks(path, policy.embodiment, chunks, starts, executed=record.executed, title=title)


def draw_dreamed_actions(path: Path, dream: Dream) -> None:
    """Draw every degree of freedom that moves, chunk by chunk."""
    chunks = [chunk.actions for chunk in dream.chunks]
    starts = np.cumsum([0, *map(len, chunks)])[:-1]
    title = "Actions decoded from what was imagined: " + shorten(dream.config.instruction, 60, placeholder=" ...")
    _draw_chunks(path, dream.embodiment, chunks, starts, executed=None, title=title)


def _draw_chunks(
    path: Path,
    robot: Embodiment,
    chunks: list[np.ndarray],
    starts: np.ndarray,
    *,
    executed: np.ndarray | None,
    title: str,
) -> None:
    drawn = np.concatenate([*chunks, *([] if executed is None else [executed])])
    moving = _moving(drawn, robot.dofs)
    ranges = _ranges(drawn, robot.dofs)
    columns = 1 if len(moving) <= MAX_ROWS else 2
    rows = -(-len(moving) // columns)
    size = (9 * (1 + 0.5 * (columns - 1)), 1.3 * rows + 1)
    figure = Figure(figsize=size)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    shown = axes.T.ravel()  # down the first column, then the second
    for axis, dof in zip(shown, moving, strict=False):
        for index, (start, chunk) in enumerate(zip(starts, chunks, strict=True)):
            time = (start + np.arange(len(chunk))) / robot.timing.action_hz
            label = "predicted (a band, one colour for each chunk)" if index == 0 else None
            axis.plot(time, chunk[:, dof], lw=6, alpha=0.45, color=f"C{index % 10}", label=label)
            axis.axvline(time[0], color="0.85", lw=0.8, zorder=0)
        if executed is not None:
            time = np.arange(len(executed)) / robot.timing.action_hz
            axis.plot(time, executed[:, dof], color="black", lw=1.2, label="executed (a line)")
        axis.set_ylim(*ranges[dof])
        axis.set_ylabel(_name(robot.dofs[dof]), fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in shown[len(moving) :]:
        axis.axis("off")
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    figure.legend(*shown[0].get_legend_handles_labels(), fontsize=8, loc="outside lower right", ncols=2, frameon=False)
    at_rest = [_literal(dof.name) for index, dof in enumerate(robot.dofs) if index not in moving]
    rest = fill(f"Hardly moving, not drawn: {', '.join(at_rest)}.", 60 * (1 + columns)) if at_rest else ""
    figure.suptitle(f"{_literal(title)}\n{rest}".rstrip(), fontsize=10)
    _save(figure, path)


def _spans(actions: np.ndarray, dofs: Sequence[Dof]) -> np.ndarray:
    """Return for each degree of freedom the widest span of those of its unit."""
    own = np.ptp(actions, axis=0)
    units = np.array([dof.unit for dof in dofs])
    return np.array([own[units == unit].max() for unit in units])


def _moving(actions: np.ndarray, dofs: Sequence[Dof]) -> list[int]:
    """Return which degrees of freedom move; the one that moves most if none does."""
    own = np.ptp(actions, axis=0)
    moves = (own > MOVES * _spans(actions, dofs)) & (own > 0)
    return [int(dof) for dof in np.flatnonzero(moves)] or [int(own.argmax())]


def _ranges(actions: np.ndarray, dofs: Sequence[Dof]) -> list[tuple[float, float]]:
    """Return what each axis shows: the middle of what is drawn in it, and a span that is equal for equal units."""
    middles = (actions.max(axis=0) + actions.min(axis=0)) / 2
    halves = [0.55 * span if span > 0 else 1.0 for span in _spans(actions, dofs)]
    return [(float(middle - half), float(middle + half)) for middle, half in zip(middles, halves, strict=True)]


def _name(dof: Dof) -> str:
    name = dof.name.replace("_", "\n", 1).replace("_", " ")
    return _literal(f"{name}\n({dof.unit})" if dof.unit else name)


def _literal(text: str) -> str:
    """Return text that matplotlib draws as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def draw_imagination(path: Path, errors: FrameErrors) -> None:
    """Draw, frame by frame, how near imagined pictures came to the real ones, and how near a still one would."""
    figure = Figure(figsize=(9, 3.4))
    axis = figure.subplots()
    for label, colour, values in (
        ("imagined", "C0", errors.imagined),
        ("last frame before the chunk, held still", "0.6", errors.held),
    ):
        axis.plot(errors.time_s, [psnr_db(float(value)) for value in values], ".-", color=colour, label=label)
    for start in errors.chunk_starts_s:
        axis.axvline(start, color="0.85", lw=0.8, zorder=0)
    axis.set_xlabel("time (s); lines mark where a new chunk begins")
    axis.set_ylabel("PSNR (dB): higher is nearer")
    axis.set_title(
        "How near imagined pictures came to the cameras' (only frames in which something moves)", fontsize=10
    )
    axis.legend(fontsize=8)
    _save(figure, path)


def draw_turns(
    path: Path,
    records: Mapping[str, EpisodeRecord],
    *,
    threshold: float | None,
    duration_s: Mapping[str, float],
    outcomes: Mapping[str, str],
) -> None:
    """Draw over time when each chunk was computed and executed, when the robot stood still, and the disagreement.

    Args:
        path: Of the PNG.
        records: Title to episode; they are drawn below each other.
        threshold: Disagreement above which a controller waits to see; None: it never does.
        duration_s: How long each took.
        outcomes: How each ended, in words: "done after 3.3 s".
    """
    rows = [max(2.0, 0.32 * len(record.answers) + 0.9) for record in records.values()]
    figure = Figure(figsize=(9, sum(rows) + 2.6))
    axes = figure.subplots(len(rows) + 1, 1, sharex=True, height_ratios=[*rows, 1.6], squeeze=False)
    for axis, (title, record) in zip(axes[:-1, 0], records.items(), strict=True):
        _draw_chunks_in_time(axis, record, duration_s[title])
        axis.set_title(f"{title}: {outcomes[title]}", fontsize=10, loc="left")
    figure.legend(
        handles=[Patch(**look) for look in LOOKS], fontsize=8, loc="outside upper right", ncols=3, frameon=False
    )
    _draw_disagreement(axes[-1, 0], records, threshold)
    axes[-1, 0].set_xlim(0, 1.02 * max(duration_s.values()))
    axes[-1, 0].set_xlabel("time (s)")
    _save(figure, path)


def _draw_chunks_in_time(axis, record: EpisodeRecord, duration_s: float) -> None:
    """A row per answer: when it was computed, and when its actions were executed; below them what the robot did."""
    tick_s, start_s = 1 / record.timing.action_hz, record.answers[0].asked_s
    for placed in record.answers:
        asked, answered = placed.asked_s - start_s, placed.answered_s - start_s
        axis.barh(placed.index, answered - asked, left=asked, height=0.4, **COMPUTING)
        if not len(placed.chunk.actions):
            axis.text(answered, placed.index, " must see first", fontsize=8, va="center")
    for placed, steps in record.spans():
        ticks = record.executed_wall_ticks[[steps.start, steps.stop - 1]]
        begin, end = ticks[0] * tick_s, (ticks[1] + 1) * tick_s
        axis.barh(placed.index, end - begin, left=begin, height=0.8, **EXECUTING)
    for begin, end in standstills(record, duration_s):
        axis.axvspan(begin, end, zorder=0, **STANDING)
    numbers = [placed.index for placed in record.answers]
    axis.set_yticks(numbers, [f"chunk {number + 1}" for number in numbers], fontsize=8)
    axis.set_ylim(max(numbers) + 0.6, -0.6)


def standstills(record: EpisodeRecord, duration_s: float) -> list[tuple[float, float]]:
    """Return (from, to) in seconds of every time in which no action was executed."""
    ticks = np.concatenate([[-1], record.executed_wall_ticks, [round(duration_s * record.timing.action_hz)]])
    gaps = np.flatnonzero(np.diff(ticks) > 1)
    return [((ticks[gap] + 1) / record.timing.action_hz, ticks[gap + 1] / record.timing.action_hz) for gap in gaps]


def _draw_disagreement(axis, records: Mapping[str, EpisodeRecord], threshold: float | None) -> None:
    for number, (title, record) in enumerate(records.items()):
        known = [placed for placed in record.answers if placed.chunk.disagreement is not None]
        times = [placed.answered_s - record.answers[0].asked_s for placed in known]
        values = [placed.chunk.disagreement for placed in known]
        label = title if known else f"{title}: nothing imagined was seen later"
        axis.plot(times, values, MARKERS[number % len(MARKERS)], color=f"C{(2, 4, 6, 8)[number % 4]}", label=label)
    if threshold is not None:
        axis.axhline(threshold, color="C3", ls="--", lw=1, label="above this line, the robot waits until it has seen")
    axis.margins(y=0.25)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("disagreement", fontsize=9)
    axis.set_title(DISAGREEMENT, fontsize=10, loc="left")
    axis.legend(fontsize=8)


def _save(figure, path: Path) -> None:
    figure.set_layout_engine("constrained")
    write_whole(path, lambda target: figure.savefig(target, format="png", dpi=130))
