"""Figures of an episode: actions, and how good the imagination was."""

from pathlib import Path

import matplotlib
import numpy as np

from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.imagination import FrameErrors
from foreact.files import write_whole
from foreact.policy.policy import Policy
from foreact.policy.viewer import psnr_db

matplotlib.use("Agg")

from matplotlib import pyplot as plt


def draw_actions(path: Path, policy: Policy, record: EpisodeRecord) -> None:
    """Draw every degree of freedom that moves: each chunk as predicted, and what was executed."""
    names = policy.embodiment.dof_names
    executed = np.concatenate([turn.executed for turn in record.chunks])
    moving = [n for n in range(len(names)) if np.ptp(executed[:, n]) > 0.01][:8] or [0]
    figure, axes = plt.subplots(len(moving), 1, figsize=(9, 1.5 * len(moving) + 0.6), sharex=True, squeeze=False)
    rate = policy.embodiment.timing.action_hz
    for axis, dof in zip(axes[:, 0], moving, strict=True):
        start = 0
        for turn in record.chunks:
            time = (start + np.arange(len(turn.chunk.actions))) / rate
            label = "predicted, one colour a chunk" if turn.index == 0 else None
            axis.plot(time, turn.chunk.actions[:, dof], lw=3, alpha=0.45, color=f"C{turn.index % 10}", label=label)
            axis.axvline(start / rate, color="0.85", lw=0.8, zorder=0)
            start += len(turn.executed)
        axis.plot(np.arange(len(executed)) / rate, executed[:, dof], color="black", lw=1, label="executed")
        axis.set_ylabel(names[dof].replace("_", "\n", 1), fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0, 0].legend(fontsize=8, loc="upper right")
    axes[-1, 0].set_xlabel("time (s)")
    figure.suptitle("Actions: predicted and executed (rad; gripper 0 closed, 1 open)", fontsize=10)
    _save(figure, path)


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
