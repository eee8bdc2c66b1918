"""`foreact imagine`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foreact.commands.loading import load_policy
from foreact.commands.options import Denoising, DenoisingOptions, Machine, MachineOptions, PolicyName
from foreact.commands.progress import bold, console, plain, progress_bar
from foreact.evaluation.dream import Dream, DreamConfig, DreamedChunk, check_imagines, dream
from foreact.evaluation.dream_files import describe_dream, write_dream
from foreact.evaluation.first_pictures import check_cameras, picture_paths, read_picture
from foreact.evaluation.first_state import read_state, typical_state
from foreact.folders import only_writer
from foreact.policy.policy import Policy

ASSUMED = {
    False: "in the middle of what the policy was trained on",
    True: "at the origin, and its actions count from there",
}
"""Where a robot stands if nobody says; True: its actions are relative to its first pose."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Imagine from a still picture what the robot will do: a film and actions.

    Nothing is looked at after the picture (open loop). A policy understands the instructions that it was trained on,
    word for word.

    Example: foreact imagine --image top=examples/lift_cube_top.png --state examples/lift_cube_state.json --instruction
    "Pick up the white cube with the right arm." --out outputs/imagine
    """

    image: tuple[str, ...]
    """A picture (PNG or JPEG, any size) of each of the policy's cameras: top=table.png wrist=hand.jpg."""
    instruction: str
    """What the robot is to do, in words."""
    out: Path
    """Gets imagined.mp4, strip.png, actions.csv, actions.png and imagined.json."""
    policy: PolicyName = "tiny"
    """Name of a shipped policy, or a folder."""
    chunks: int = 3
    """How many chunks to imagine, each upon those before."""
    state: tuple[str, ...] = ()
    """Where the robot stands in the picture, its own units: numbers, or one file (.json, .csv). By default the middle
    of what the policy was trained on."""
    seed: int = 0
    """Of the noise; another seed imagines another future."""
    denoising: Denoising = DenoisingOptions()
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Imagine, then write the film and the actions."""
    config = DreamConfig(instruction=settings.instruction, num_chunks=settings.chunks, seed=settings.seed)
    paths = picture_paths(settings.image)
    images = {camera: read_picture(path) for camera, path in paths.items()}
    with only_writer(settings.out):
        _run(settings, config, paths, images)


def _run(settings: Settings, config: DreamConfig, paths: Mapping[str, Path], images: dict[str, np.ndarray]) -> None:
    policy = load_policy(settings.policy, settings.denoising, settings.machine)
    check_imagines(policy)
    check_cameras(images, policy.embodiment)
    start = _start(policy, settings.state)
    _tell_squeezed(policy, images)
    dreamed = _dream(policy, config, images, start)
    about = {
        "policy": settings.policy,
        "images": {camera: str(path) for camera, path in paths.items()},
        "state_from": "given" if settings.state else ASSUMED[policy.embodiment.needs_initial_pose],
        **describe_dream(policy, dreamed),
    }
    files = write_dream(settings.out, dreamed, about)
    _tell(dreamed)
    for path in files:
        console.print(f"  {bold(path)}")


def _start(policy: Policy, given: Sequence[str] | None) -> np.ndarray:
    robot = policy.embodiment
    if given:
        state = read_state(given, robot.state_names or robot.dof_names)
        for odd in policy.codec.odd_entries(state):
            console.print(f"warning: {odd}; check the units and the order of --state.", markup=False)
        return state
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
                f"The picture of camera {plain(camera)} ({width} x {height}) is squeezed to {size[1]} x {size[0]} "
                "pixels, as the policy sees; crop it first to keep its proportions."
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
