"""`foreact calibrate`."""

import json
from dataclasses import dataclass
from pathlib import Path

from foreact.commands.datasets import Data, DataOptions
from foreact.commands.options import Machine, MachineOptions
from foreact.commands.progress import bold, console, progress_bar
from foreact.data.latents import LatentCache
from foreact.data.sequences import load_sequences
from foreact.errors import ConfigurationError
from foreact.files import write_whole
from foreact.folders import only_writer
from foreact.policy.loading import load_policy
from foreact.policy.storage.checkpoint import CONFIG_FILE
from foreact.policy.storage.placement import Placement
from foreact.settings import read_json
from foreact.training.validation import open_loop_error


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure how far imagination may be off before a robot should stop.

    Held-out episodes are imagined and compared with what was recorded. The policy's folder keeps the threshold, and
    asynchronous controllers keep to it. Training does this by itself.

    Example: foreact calibrate --policy runs/tiny/policy --data data/lift_cube data/reach_cube
    """

    policy: Path
    """Folder of a policy; its config.json is changed."""
    data: tuple[Path, ...]
    """LeRobot datasets, encoded by `foreact encode`."""
    held_out: int = 5
    """Last episodes of each that are measured."""
    seed: int = 0
    """Of the noise."""
    reading: Data = DataOptions()
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Measure, then write the threshold into the policy's configuration."""
    path = settings.policy / CONFIG_FILE
    read_json(path)  # that there is a policy is checked before its folder is locked, which would make it
    with only_writer(settings.policy):
        threshold = _measure(settings)
        config = read_json(path)
        config["inference"]["disagreement_threshold"] = threshold
        write_whole(path, (json.dumps(config, indent=1) + "\n").encode())
    console.print(f"Where imagination is off by more than {bold(f'{threshold:.3f}')}, the robot will stop and look.")


def _measure(settings: Settings) -> float:
    """Return the largest error of imagination over the held-out episodes of all datasets, latents of unit spread."""
    policy = load_policy(settings.policy, placement=Placement(device=str(settings.machine.use())))
    datasets = settings.reading.open(settings.data, policy.embodiment)
    thresholds = []
    with progress_bar() as bar:
        for dataset in datasets:
            shown = bar.add_task(f"imagining {dataset.root}", total=1, figures="")
            cache = LatentCache(dataset, policy.networks.vae, policy.embodiment, elsewhere=settings.reading.latents)
            sequences = load_sequences(dataset, cache, policy.codec)[-settings.held_out :]
            thresholds.append(open_loop_error(policy, sequences, seed=settings.seed).disagreement)
            bar.update(shown, completed=1)
    if None in thresholds:
        raise ConfigurationError("policy to be calibrated", got="one that imagines nothing", allowed="one that does")
    return max(thresholds)
