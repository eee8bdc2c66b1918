"""`foreact info`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from foreact.commands.options import named, shipped_policies
from foreact.commands.progress import console
from foreact.data.episodes import EpisodeDataset
from foreact.data.lerobot_files import INFO_PATH
from foreact.data.overview import dataset_facts
from foreact.errors import ConfigurationError
from foreact.policy.facts import policy_facts
from foreact.policy.storage.checkpoint import CONFIG_FILE, find_policy


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Say what a dataset or a policy is, on one screen.

    Reads what is written about it, and no pictures or weights. Whether a dataset is in order, `foreact doctor` says;
    what a policy costs, `foreact describe`.

    Example: foreact info data/lift_cube
    """

    name: Annotated[str, named(shipped_policies(), "DIR"), tyro.conf.Positional]
    """Folder of a LeRobot dataset, of a policy or of a training run; or name of a shipped policy."""
    latents: Path | None = None
    """Folder of a dataset's latents, if not with it."""
    json: bool = False
    """Print it as JSON."""


def run(settings: Settings) -> None:
    """Find out what it is, and print the facts."""
    facts = _facts(settings.name, settings.latents)
    if settings.json:
        print(json.dumps(facts, indent=1))
        return
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # long paths are broken, not cut
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table, markup=False)


def _facts(name: str, latents: Path | None) -> dict[str, str]:
    folder = find_policy(name) if name in shipped_policies() else Path(name).expanduser()
    if (folder / INFO_PATH).is_file():
        return dataset_facts(EpisodeDataset(folder), latents)
    for policy in (folder / "policy", folder):  # the folder of a training run holds its policy
        if (policy / CONFIG_FILE).is_file():
            return policy_facts(policy)
    raise ConfigurationError(
        f"{name}",
        got="a folder without meta/info.json and config.json" if folder.is_dir() else "no folder",
        allowed=f"folder of a LeRobot dataset or of a policy, or one of: {', '.join(shipped_policies())}",
        cure="of what is on the hub, get a folder first: hf download OWNER/NAME --local-dir DIR",
    )
