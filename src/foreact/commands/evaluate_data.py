"""`foreact evaluate --data`: a policy on recorded episodes, without a simulator."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.table import Table

from foreact.commands.datasets import DataOptions
from foreact.commands.progress import console, plain
from foreact.errors import ConfigurationError
from foreact.evaluation.open_loop import compare_joints
from foreact.files import write_whole
from foreact.folders import only_writer
from foreact.policy.policy import Policy

RESULTS_FILE = "results.json"
SIMULATED = {
    "task": "--task",
    "env": "--env",
    "protocol": "--protocol",
    "episodes": "--episodes",
    "seed": "--seed",
    "workers": "--workers",
    "together": "--together",
    "videos": "--videos",
    "controller": "--controller",
    "latency_ms": "--latency-ms",
    "execution_horizon": "--execution-horizon",
    "disturbing": "--disturbance",
}
"""Settings that only simulated episodes have, and their flags."""
RECORDED = {"held_out": "--held-out", "reading": "--rename or --latents"}
"""Settings that only recorded episodes have, and their flags."""


def check_compatible(settings: Any) -> None:
    """Refuse settings of simulated episodes with --data, and settings of recorded episodes without it.

    Args:
        settings: Of `foreact evaluate`.

    Raises:
        ConfigurationError: There are such settings, or no episode would be held out.
    """
    others, how = (SIMULATED, "with") if settings.data else (RECORDED, "without")
    given = [others[f.name] for f in fields(settings) if f.name in others and getattr(settings, f.name) != f.default]
    if given:
        allowed = (
            "--data with --held-out, --rename and --latents for recorded episodes, or --task or --env for simulated"
        )
        raise ConfigurationError("foreact evaluate", got=f"{', '.join(given)} {how} --data", allowed=allowed)
    if settings.held_out < 1:
        raise ConfigurationError("--held-out", got=settings.held_out, allowed="1 or more of the last episodes")


def evaluate_data(
    policy: Policy, name: str, roots: Sequence[Path], reading: DataOptions, held_out: int, out: Path
) -> None:
    """Compare a policy with the last episodes of each dataset, print the errors and write `results.json`.

    Args:
        policy: To be measured.
        name: Of the policy, for the results.
        roots: Folders of the datasets, encoded with the policy's video VAE.
        reading: How the datasets are read, and where their latents are.
        held_out: How many of the last episodes of each dataset are compared; 1 or more.
        out: Folder that gets `results.json`. Errors are in each joint's own unit.

    Raises:
        ConfigurationError: `out` cannot be written to, or somebody else writes there.
        DatasetError: A dataset cannot be read, is not encoded, or has no episode as long as one chunk.
    """
    with only_writer(out):
        results = list(_compared(policy, roots, reading, held_out))
        content = json.dumps({"policy": name, "datasets": results}, indent=1) + "\n"
        write_whole(out / RESULTS_FILE, content.encode())
    console.print(f"The same is in {out / RESULTS_FILE}.", markup=False)


def _compared(policy: Policy, roots: Sequence[Path], reading: DataOptions, held_out: int) -> Iterator[dict[str, Any]]:
    for dataset in reading.open(roots, policy.embodiment):
        with console.status("predicting every chunk of the last episodes"):
            joints = list(compare_joints(policy, dataset, held_out, reading.latents))
        episodes = min(held_out, dataset.num_episodes)
        console.print(f"Mean absolute error over the last {episodes} episodes of {dataset.root}:", markup=False)
        console.print(joint_table(joints))
        yield {"data": str(dataset.root), "episodes": episodes, "joints": joints}


def joint_table(joints: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of the rows that `compare_joints` yields, one line for each joint."""
    table = Table("joint", "unit", "policy", "repeating the last action", box=None)
    for row in joints:
        table.add_row(plain(row["joint"]), plain(row["unit"]), f"{row['policy']:.4g}", f"{row['last_action']:.4g}")
    return table
