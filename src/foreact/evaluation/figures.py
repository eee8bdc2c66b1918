"""Figures of an episode or a dream: actions, and how good the imagination was."""

from pathlib import Path
from textwrap import shorten

import matplotlib
import numpy as np

from foreact.embodiments import Dof, Embodiment
from foreact.evaluation.dream import Dream
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.imagination import FrameErrors
from foreact.files import write_whole
from foreact.policy.policy import Policy
from foreact.policy.viewer import psnr_db

matplotlib.use("Agg")

from matplotlib import pyplot as plt

MOVES = 0.01
"""Least span of a degree of freedom that is drawn, its own unit."""
MAX_ROWS = 8
"""More degrees of freedom than this are drawn in two columns."""


def draw_actions(path: Path, policy: Policy, record: EpisodeRecord) -> None:
    """Draw every degree of freedom that moves: each chunk as predicted, and what was executed."""
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
    moving = _moving(np.concatenate(chunks) if executed is None else executed)
    columns = 1 if len(moving) <= MAX_ROWS else 2
    rows = -(-len(moving) // columns)
    size = (9 * (1 + 0.5 * (columns - 1)), 1.3 * rows + 1)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, squeeze=False)
    shown = axes.T.ravel()  # down the first column, then the second
    for axis, dof in zip(shown, moving, strict=False):
        for index, (start, chunk) in enumerate(zip(starts, chunks, strict=True)):
            time = (start + np.arange(len(chunk))) / robot.timing.action_hz
            label = "predicted, one colour a chunk" if index == 0 else None
            axis.plot(time, chunk[:, dof], lw=3, alpha=0.6, color=f"C{index % 10}", label=label)
            axis.axvline(time[0], color="0.85", lw=0.8, zorder=0)
        if executed is not None:
            time = np.arange(len(executed)) / robot.timing.action_hz
            axis.plot(time, executed[:, dof], color="black", lw=1, label="executed")
        axis.set_ylabel(_name(robot.dofs[dof]), fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in shown[len(moving) :]:
        axis.axis("off")
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    figure.legend(*shown[0].get_legend_handles_labels(), fontsize=8, loc="lower right", ncols=2, frameon=False)
    figure.suptitle(title, fontsize=10)
    _save(figure, path)


def _moving(actions: np.ndarray) -> list[int]:
    """Return which degrees of freedom move; the one that moves most if none does."""
    spans = np.ptp(actions, axis=0)
    return [int(dof) for dof in np.flatnonzero(spans > MOVES)] or [int(spans.argmax())]


def _name(dof: Dof) -> str:
    name = dof.name.replace("_", "\n", 1).replace("_", " ")
    return f"{name}\n({dof.unit})" if dof.unit else name


def draw_imagination(path: Path, errors: FrameErrors) -> None:
    """Draw, frame by frame, how near imagined pictures came to the real ones, and how near a still one would."""
    figure, axis = plt.subplots(figsize=(9, 3.4))
    for label, colour, values in (
        ("imagined", "C0", errors.imagined),
        ("last frame before the chunk, held still", "0.6", errors.held),
    ):
        axis.plot(errors.time_s, [psnr_db(float(value)) for value in values], ".-", color=colour, label=label)
    for start in errors.chunk_starts_s:
        axis.axvline(start, color="0.85", lw=0.8, zorder=0)
    axis.set_xlabel("time (s); lines mark where a new chunk begins")
    axis.set_ylabel("PSNR against the cameras (dB)")
    axis.set_title("How near imagination came to what happened (frames in which something moves)", fontsize=10)
    axis.legend(fontsize=8)
    _save(figure, path)


def _save(figure, path: Path) -> None:
    figure.tight_layout()
    write_whole(path, lambda target: figure.savefig(target, format="png", dpi=130))
    plt.close(figure)
