"""Figures of an episode: actions, and how good the imagination was."""

from pathlib import Path

import matplotlib
import numpy as np

from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.pictures import real_and_imagined
from foreact.files import write_whole
from foreact.policy.policy import Policy
from foreact.policy.viewer import hold_last, moving_frames, psnr_db, squared_errors

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


def draw_imagination(path: Path, policy: Policy, record: EpisodeRecord) -> None:
    """Draw, frame by frame, how near imagined pictures came to the real ones, and how near a still one would."""
    period_s = 1 / policy.embodiment.timing.camera_hz
    times, imagined_db, still_db, seams = [], [], [], []
    number, last = 0, None
    for _, real, imagined in real_and_imagined(policy, record):
        shown = dict(policy.embodiment.layout.pictures(real))
        count = len(next(iter(shown.values())))
        if imagined is not None and last is not None:
            seams.append(number * period_s)
            moving = moving_frames(shown, last)
            guess = squared_errors({c: clip[:count] for c, clip in imagined.items()}, shown)
            still = squared_errors(hold_last(last, count), shown)
            for k in np.flatnonzero(moving):
                times.append((number + k) * period_s)
                imagined_db.append(psnr_db(float(guess[k])))
                still_db.append(psnr_db(float(still[k])))
        number, last = number + count, shown
    figure, axis = plt.subplots(figsize=(9, 3.4))
    axis.plot(times, imagined_db, ".-", label="imagined")
    axis.plot(times, still_db, ".-", color="0.6", label="last real frame, held still")
    for seam in seams:
        axis.axvline(seam, color="0.85", lw=0.8, zorder=0)
    axis.set_xlabel("time (s); lines mark where a new chunk begins")
    axis.set_ylabel("PSNR against the cameras (dB)")
    axis.set_title("How near imagination came to what happened (frames in which something moves)", fontsize=10)
    axis.legend(fontsize=8)
    _save(figure, path)


def _save(figure, path: Path) -> None:
    figure.tight_layout()
    write_whole(path, lambda target: figure.savefig(target, format="png", dpi=130))
    plt.close(figure)
