"""What is learned from: datasets by folder, by their name on the hub, or as a list with weights and robots."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foreact.data.episodes import EpisodeDataset
from foreact.data.renaming import parse_renames
from foreact.embodiments import Embodiment, load_embodiment
from foreact.errors import DatasetError, ForeactError
from foreact.hub import fetch, is_repository
from foreact.settings import build

WANTED = ("meta/*", "data/*", "videos/*", "images/*", "README.md")
"""Files of a LeRobot dataset."""
KEYS = ("data", "embodiment", "weight", "episodes", "rename")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One dataset among those that are learned from together."""

    dataset: EpisodeDataset
    embodiment: Embodiment | None = None
    """Whose robot it is of; None: the robot that everything else is for."""
    weight: float = 1.0
    """How often it is drawn, relative to the others."""
    num_episodes: int | None = None
    """Its first episodes that are trained on, as if no others had been recorded but those held out; None: all."""

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise DatasetError(f"weight of {self.dataset.root}", got=self.weight, allowed="more than 0")
        if self.num_episodes is not None and self.num_episodes < 1:
            raise DatasetError(f"episodes of {self.dataset.root}", got=self.num_episodes, allowed="1 or more")


def find_dataset(name: str | Path, *, cache_dir: Path | None = None) -> Path:
    """Return the folder of a dataset, fetched if it is a name on the hub: "owner/name" or "owner/name@revision".

    Raises:
        DatasetError: There is no such folder, and no such repository, or it cannot be had.
    """
    folder = Path(name).expanduser()
    repository, _, revision = str(name).partition("@")
    if folder.exists() or not is_repository(repository):
        return folder  # opening it says what is wrong with it
    return fetch(
        repository,
        kind="dataset",
        revision=revision or None,
        allow_patterns=WANTED,
        cache_dir=cache_dir,
        raises=DatasetError,
        instead="name it instead",
    )


def read_parts(names: Iterable[str | Path]) -> list[Part]:
    """Return the datasets of some names: folders, names on the hub, and mixtures (`*.toml`).

    A mixture is a list of tables `[[dataset]]` with `data` (a folder, relative to the file, or a name on the hub), and
    where wanted `embodiment` (a name, or a file relative to this one), `weight`, `episodes`, and `rename` (a table: the
    dataset's own name, then the name here).

    Raises:
        DatasetError: A dataset cannot be had or read, or a mixture is not such a list.
    """
    parts: list[Part] = []
    for name in names:
        parts.extend(
            _read_mixture(Path(name))
            if str(name).endswith(".toml")
            else [Part(dataset=EpisodeDataset(find_dataset(name)))]
        )
    return parts


def _read_mixture(path: Path) -> list[Part]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"mixture {path}", got=error.strerror, cure="check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"mixture {path}", got=error, allowed="TOML text") from error
    entries = tables.get("dataset")
    if set(tables) != {"dataset"} or not isinstance(entries, list) or not entries:
        raise DatasetError(f"mixture {path}", got=f"the keys {list(tables)}", allowed="one or more tables [[dataset]]")
    return [_read_entry(entry, f"dataset {number} of {path}", path.parent) for number, entry in enumerate(entries, 1)]


def _read_entry(entry: Any, where: str, home: Path) -> Part:
    if not isinstance(entry, dict) or "data" not in entry or not set(entry) <= set(KEYS):
        got = list(entry) if isinstance(entry, dict) else entry
        raise DatasetError(where, got=got, allowed=f"data, and of {', '.join(KEYS[1:])} what is wanted")
    try:
        name = build(str, entry["data"], "data")
        robot = build(str, entry["embodiment"], "embodiment") if "embodiment" in entry else None
        nearby = home / Path(name).expanduser()
        rename = entry.get("rename", {})
        if not isinstance(rename, dict):
            raise DatasetError("rename", got=rename, allowed='a table, such as {"observation.image" = "top"}')
        part = Part(
            dataset=EpisodeDataset(
                nearby if nearby.exists() else find_dataset(name),
                renames=parse_renames(f"{old}={new}" for old, new in rename.items()),
            ),
            weight=build(float, entry.get("weight", 1.0), "weight"),
            num_episodes=build(int | None, entry.get("episodes"), "episodes"),
        )
        if robot is None:
            return part
        return replace(part, embodiment=load_embodiment(home / robot if robot.endswith(".toml") else robot))
    except ForeactError as error:
        raise DatasetError(where, got=error) from error
