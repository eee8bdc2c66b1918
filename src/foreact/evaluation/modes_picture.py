"""One moment of an episode, asked four ways: a strip of pictures, and below it the actions."""

from pathlib import Path
from textwrap import shorten

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from foreact.data.batch import TrainingSequence
from foreact.embodiments.actions import CHANNEL_NAMES
from foreact.evaluation.canvas import mosaic
from foreact.evaluation.modes import Answers, held_frame
from foreact.evaluation.style import house_style
from foreact.files import write_whole
from foreact.policy.disagreement import frame_distances
from foreact.policy.policy import Policy
from foreact.policy.viewer import Frames, LatentViewer, psnr_db, squared_errors
from foreact.training.validation import whole_chunks

TILE = 128
"""Height of a picture, pixels."""
NUM_INSTANTS = 4
NUM_JOINTS = 4
REAL, IMAGINED, FORESEEN = "what happened", "imagined\nfrom history alone", "foreseen\nfrom history\nand the actions"
LINES = {
    "recorded": {"color": "black", "lw": 2.2},
    "policy: decoded from what it imagined": {"color": "C1", "lw": 1.6},
    "inverse dynamics: from the real frames": {"color": "C0", "lw": 1.6, "ls": "--"},
}


def liveliest_chunk(sequence: TrainingSequence, frames_per_chunk: int) -> tuple[float, slice]:
    """Return how much the picture changes in the whole chunk in which it changes most, and that chunk's frames."""
    chunks = []
    for now in whole_chunks(sequence, frames_per_chunk):
        changes = frame_distances(held_frame(sequence, now), sequence.latents[:, now])
        chunks.append((float(changes.mean()), now))
    return max(chunks, key=lambda chunk: chunk[0], default=(0.0, slice(0, 0)))


@house_style()
def draw_modes(path: Path, policy: Policy, sequence: TrainingSequence, answers: Answers) -> None:
    """Draw what was recorded in one chunk and what the network answers, as a PNG."""
    rows, last = _pictures(policy, sequence, answers)
    joints, names = _curves(policy, sequence, answers)
    figure = Figure(figsize=(1.5 * NUM_INSTANTS + 3.4, 9.2))
    above, below = figure.add_gridspec(2, 1, height_ratios=[3, 2.7], hspace=0.12, left=0.16, right=0.98, top=0.91)
    _draw_strip(figure, above, policy, rows, last)
    axes = below.subgridspec(2, -(-len(names) // 2), hspace=0.35, wspace=0.28).subplots(squeeze=False, sharex=True)
    hz = policy.embodiment.timing.action_hz
    for place, (axis, name) in enumerate(zip(axes.ravel(), names, strict=False)):
        for label, actions in joints.items():
            axis.plot((1 + np.arange(len(actions))) / hz, actions[:, place], label=label, **LINES[label])
        axis.set_title(name, pad=3)
    for axis in axes.ravel()[len(names) :]:
        axis.axis("off")
    for axis in axes[-1]:
        axis.set_xlabel("time after the last picture seen (s)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=3)
    words = shorten(sequence.instruction, 80, placeholder=" ...")
    figure.suptitle(f"One moment, asked four ways: “{words}”")
    write_whole(path, lambda target: figure.savefig(target, format="png", dpi=130))


def _pictures(policy: Policy, sequence: TrainingSequence, answers: Answers) -> tuple[dict[str, Frames], Frames]:
    """Return the three clips of the chunk, and the last real frames before it; all as the VAE shows them."""
    viewer = LatentViewer(policy.networks.vae, policy.embodiment.layout)
    before = viewer.show(sequence.latents[:, : answers.now.start])
    latents = {
        REAL: sequence.latents[:, answers.now],
        IMAGINED: answers.imagined,
        FORESEEN: answers.foreseen,
    }
    return {label: viewer.peek(z) for label, z in latents.items()}, {c: clip[-1:] for c, clip in before.items()}


def _curves(policy: Policy, sequence: TrainingSequence, answers: Answers) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return by line the actions of the joints that move most, and the joints' names with their units."""
    robot = policy.embodiment
    given = (sequence.actions[answers.now], answers.prediction.actions, answers.inferred)
    if robot.needs_initial_pose:  # they count from a pose that is not known here: as the network sees them
        has = np.flatnonzero(policy.codec.mask)
        names = [f"{CHANNEL_NAMES[channel]} (model units)" for channel in has]
        values = [_flat(actions)[:, has] for actions in given]
    else:
        names = [f"{dof.name.replace('_', ' ')} ({dof.unit})" if dof.unit else dof.name for dof in robot.dofs]
        values = [policy.codec.decode(_flat(actions)) for actions in given]
    most = np.sort(np.argsort(np.ptp(values[0], axis=0))[::-1][:NUM_JOINTS])
    lines = {label: shown[:, most] for label, shown in zip(LINES, values, strict=True)}
    return lines, [names[place] for place in most]


def _draw_strip(figure, place, policy: Policy, rows: dict[str, Frames], last: Frames) -> None:
    """A row of pictures per clip at a few instants, the last real one before them on the left."""
    layout, camera_hz = policy.embodiment.layout, policy.embodiment.timing.camera_hz
    num_frames = len(next(iter(rows[REAL].values())))
    instants = np.unique(np.linspace(0, num_frames, NUM_INSTANTS + 1)[1:].round().astype(int)) - 1
    axes = place.subgridspec(3, 1 + len(instants), hspace=0.06, wspace=0.04).subplots(squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    axes[0, 0].imshow(mosaic({camera: clip[0] for camera, clip in last.items()}, layout, TILE))
    axes[0, 0].set_title("last seen")
    for row, (label, clip) in zip(axes, rows.items(), strict=True):
        for axis, instant in zip(row[1:], instants, strict=True):
            axis.imshow(mosaic({camera: frames[instant] for camera, frames in clip.items()}, layout, TILE))
            if label == REAL:
                axis.set_title(f"{(instant + 1) / camera_hz:.2f} s later")
        details = label if label == REAL else f"{label}\n\nPSNR {_psnr_db(clip, rows[REAL]):.1f} dB"
        where = (-0.06, 0.5, "right") if label == REAL else (0.96, 0.5, "right")
        row[0].text(where[0], where[1], details, ha=where[2], va="center", transform=row[0].transAxes)


def _psnr_db(clip: Frames, real: Frames) -> float:
    return psnr_db(float(squared_errors(clip, real).mean()))


def _flat(actions: Tensor) -> np.ndarray:
    return actions.flatten(0, 1).numpy()
