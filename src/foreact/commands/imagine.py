"""`foreact imagine`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foreact.commands.progress import console, progress_bar, use_device
from foreact.errors import ConfigurationError
from foreact.evaluation.dream import Dream, DreamConfig, DreamedChunk, check_imagines, dream
from foreact.evaluation.dream_files import describe_dream, write_dream
from foreact.evaluation.first_pictures import check_cameras, picture_paths, read_picture
from foreact.evaluation.first_state import read_state, typical_state
from foreact.policy.checkpoint import load
from foreact.policy.policy import Policy
from foreact.policy.schedules import apply_schedule, get_schedule

ASSUMED = {
    False: "in the middle of what the policy was trained on",
    True: "at the origin, and its actions count from there",
}
"""Where a robot stands if nobody says; True: its actions are relative to its first pose."""


def imagine(
    policy_name: str,
    image: Sequence[str],
    instruction: str,
    chunks: int,
    out: Path,
    state: Sequence[str] | None,
    seed: int,
    changes: Mapping[str, Any],
    device: str,
    threads: int | None,
    *,
    schedule: str | None = None,
) -> None:
    """See `foreact.cli.imagine`."""
    if schedule is not None:
        get_schedule(schedule)  # an unknown one is told before anything large is loaded
    config = DreamConfig(instruction=instruction, num_chunks=chunks, seed=seed)
    paths = picture_paths(image)
    images = {camera: read_picture(path) for camera, path in paths.items()}
    if out.exists() and not out.is_dir():
        raise ConfigurationError("folder for the results", got=f"the file {out}", cure="choose another name")
    policy = load(policy_name, device=use_device(device, threads))
    check_imagines(policy)
    check_cameras(images, policy.embodiment)
    policy = apply_schedule(policy, schedule, **changes)
    start = _start(policy, state)
    _tell_squeezed(policy, images)
    dreamed = _dream(policy, config, images, start)
    about = {
        "policy": policy_name,
        "images": {camera: str(path) for camera, path in paths.items()},
        "state_from": "given" if state else ASSUMED[policy.embodiment.needs_initial_pose],
        **describe_dream(policy, dreamed),
    }
    files = write_dream(out, dreamed, about)
    _tell(dreamed)
    for path in files:
        console.print(f"  [bold]{path}[/]")


def _start(policy: Policy, given: Sequence[str] | None) -> np.ndarray:
    robot = policy.embodiment
    if given:
        return read_state(given, robot.state_names or robot.dof_names)
    console.print(
        f"No --state is given: the robot is taken to stand {ASSUMED[robot.needs_initial_pose]}. "
        "If the picture shows it elsewhere, say where: its actions will fit better."
    )
    return typical_state(policy.codec)


def _dream(policy: Policy, config: DreamConfig, images: dict[str, np.ndarray], state: np.ndarray) -> Dream:
    with progress_bar() as bar:
        shown = bar.add_task("imagining", total=config.num_chunks, figures="")

        def advance(chunk: DreamedChunk) -> None:
            bar.update(shown, advance=1, figures=f"chunks, {sum(chunk.stage_ms.values()) / 1e3:.2g} s each")

        return dream(policy, config, images, state, on_chunk=advance)


def _tell_squeezed(policy: Policy, images: Mapping[str, np.ndarray]) -> None:
    """Say so where a picture's proportions are not those that the policy sees."""
    layout = policy.embodiment.layout
    for camera, size in zip(layout.cameras, layout.picture_sizes, strict=True):
        height, width = images[camera].shape[1:3]
        if abs(np.log(width / height * size[0] / size[1])) > 0.02:
            console.print(
                f"The picture of camera {camera} ({width} x {height}) is squeezed to {size[1]} x {size[0]} pixels, "
                "as the policy sees; crop it first to keep its proportions."
            )


def _tell(dreamed: Dream) -> None:
    layout, num_frames = dreamed.embodiment.layout, len(dreamed.pictures) - 1
    imagined_s = num_frames / dreamed.embodiment.timing.camera_hz
    computing_s = sum(sum(chunk.stage_ms.values()) for chunk in dreamed.chunks) / 1e3
    console.print(
        f"Imagined {num_frames} frames of {layout.width} x {layout.height} pixels ({imagined_s:.1f} s) and decoded the "
        f"{len(dreamed.actions)} actions that lead there, in {computing_s:.2g} s. After the first picture nothing was "
        "looked at: errors add up."
    )
    console.print("Look at:")
