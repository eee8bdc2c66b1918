"""`foreact doctor`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table

from foreact.commands.doctor_page import write_page
from foreact.commands.embodiment import look_at
from foreact.commands.evaluate_data import joint_table
from foreact.commands.options import Machine, MachineOptions
from foreact.commands.progress import console
from foreact.data.episodes import EpisodeDataset
from foreact.data.examination import Examination, examine, to_plain
from foreact.data.findings import Finding
from foreact.data.mixture import find_dataset
from foreact.data.renaming import parse_renames, propose_renames
from foreact.embodiments import Embodiment, load_embodiment
from foreact.embodiments.proposal import propose
from foreact.errors import DatasetError
from foreact.evaluation.open_loop import compare_joints
from foreact.policy.loading import load
from foreact.policy.policy import Policy

COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
FOUND = 1
"""Exit status if something was found that a loader refuses."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Say what is in a dataset, and what is wrong or odd about it.

    Episodes, hours, cameras, rates, gaps, units, outliers, frozen pictures, instructions that differ by a letter; and
    what follows for training. With a policy: how far its actions are from what was recorded, joint by joint. Exits with
    1 if something was found that training refuses.

    Example: foreact doctor data/my_task --out outputs/doctor.html
    """

    data: Annotated[Path, tyro.conf.Positional]
    """A LeRobot dataset."""
    embodiment: str | None = None
    """Name of the robot, or its TOML file; by default one is proposed from the dataset."""
    rename: tuple[str, ...] = ()
    """What columns and cameras of the dataset are called here: observation.image=top."""
    policy: str | None = None
    """A policy to compare with the last episodes, which must be encoded with its video VAE."""
    held_out: int = 2
    """How many of the last episodes the policy is compared with."""
    latents: Path | None = None
    """Folder of the latents, if not with the dataset."""
    out: Path | None = None
    """Gets the same as a page to open in a browser, with pictures of every camera."""
    json: bool = False
    """Print facts and findings as JSON."""
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Examine, print, and write the page."""
    dataset = EpisodeDataset(find_dataset(settings.data), renames=parse_renames(settings.rename))
    policy = None if settings.policy is None else load(settings.policy, device=settings.machine.use())
    robot, notes = _robot(dataset, settings, policy)
    if robot is not None and (renames := propose_renames(dataset.camera_keys, robot.cameras)):
        dataset = dataset.renamed(dataset.renames | renames)
    examined = examine(dataset, robot)
    errors = [] if policy is None else list(compare_joints(policy, dataset, settings.held_out, settings.latents))
    if settings.json:
        print(json.dumps({**to_plain(examined), "check": notes, "open_loop": errors}, indent=1, default=str))
    else:
        _print(examined, notes, errors)
    if settings.out is not None:
        settings.out.parent.mkdir(parents=True, exist_ok=True)
        write_page(settings.out, examined, notes, errors)
        console.print(f"The same with pictures is in {settings.out}.", markup=False)
    if examined.num_errors:
        raise SystemExit(FOUND)


def _robot(dataset: EpisodeDataset, settings: Settings, policy: Policy | None) -> tuple[Embodiment | None, list[str]]:
    """Return the robot that was named, the policy's, or a proposed one with what is to be checked about it."""
    if settings.embodiment is not None:
        return load_embodiment(settings.embodiment), []
    if policy is not None:
        return policy.embodiment, []
    try:
        robot, notes = propose(look_at(dataset))
    except DatasetError:
        return None, []  # the examination says what is wrong
    details = f"a robot's file can be proposed: foreact embodiment {settings.data} --out my_robot.toml"
    return robot, [details, *notes]


def _print(examined: Examination, notes: list[str], errors: list[dict[str, Any]]) -> None:
    facts = Table(show_header=False, box=None)
    for name, value in examined.facts.items():
        facts.add_row(name, value)
    console.print(facts, markup=False)
    for finding in examined.findings:
        console.print(f"[{COLOURS[finding.severity]}]{finding.severity}[/]", end=": ")
        console.print(describe(finding), markup=False)
    for note in notes:
        console.print(f"check: {note}", markup=False)
    if errors:
        console.print("Mean error of the policy's actions, from the real history:")
        console.print(joint_table(errors))
    kinds = {kind: sum(f.severity == kind for f in examined.findings) for kind in COLOURS}
    console.print(", ".join(f"{count} {kind}s" for kind, count in kinds.items()) + ".")


def describe(finding: Finding) -> str:
    """Return a finding as one sentence."""
    return str(finding.error())
