"""`foreact distill`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from foreact.commands.datasets import Data, DataOptions
from foreact.commands.options import Denoising, DenoisingOptions, Machine, MachineOptions, PolicyName
from foreact.commands.progress import bold, console, plain
from foreact.commands.train_progress import show
from foreact.policy.loading import load
from foreact.policy.policy import with_settings
from foreact.policy.schedules import describe_steps
from foreact.training.distillation import DistillationConfig, distill, distilled_settings
from foreact.training.run import POLICY_FOLDER

DEFAULTS = DistillationConfig()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Make a policy that computes a chunk in one or two steps, from another.

    The new policy learns on recorded episodes to go at once where the old one's many steps lead. It is a policy like
    any other: it has two video steps and one action step as its own, and --schedule one halves the video steps.
    Repeat the command after an interruption: it goes on exactly where it stopped.

    Example: foreact distill --policy tiny --data data/lift_cube data/reach_cube --out runs/quick
    """

    policy: PolicyName
    """The policy to learn from."""
    data: tuple[Path, ...]
    """LeRobot datasets of its robot, encoded by `foreact encode` with its video VAE."""
    out: Path
    """Gets policy/ (what foreact.load takes), recipe.json, log.jsonl, tensorboard/, and its state."""
    teacher: Denoising = DenoisingOptions()
    reading: Data = DataOptions()
    machine: Machine = MachineOptions()
    training: Annotated[DistillationConfig, tyro.conf.arg(name="")] = DEFAULTS


def run(settings: Settings) -> None:
    """Distil, showing the loss of every step."""
    settings.teacher.check()
    device = settings.machine.use()
    policy = load(settings.policy, device=device)
    policy = with_settings(policy, **settings.teacher.changes_to(policy.config))
    datasets = settings.reading.open(settings.data, policy.embodiment)
    few = describe_steps(distilled_settings(policy.config))
    console.print(f"From {describe_steps(policy.config)} to {few}.", markup=False)
    steps = distill(
        policy,
        str(settings.policy),
        datasets,
        settings.out,
        settings.training,
        latents=settings.reading.latents,
        device=device,
    )
    show(steps, console)
    made = settings.out / POLICY_FOLDER
    console.print(f"The policy is in {bold(made)}: foreact.load({plain(repr(str(made)))}).")
    console.print(f"Next: foreact evaluate --policy {made} --task lift_cube --out outputs/quick", markup=False)
