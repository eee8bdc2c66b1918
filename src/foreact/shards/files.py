"""Which files hold a network's tensors."""

import json
from collections.abc import Iterable
from pathlib import Path

from foreact.errors import CheckpointError
from foreact.settings import MOST_JSON_BYTES
from foreact.shards.names import PICKLES, SUFFIX, index_file, single_file

MAX_NAMED = 5
"""Names in one message."""


def list_some(names: Iterable[str]) -> str:
    """Return the first few names in order, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - MAX_NAMED
    return ", ".join(ordered[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def find_shards(folder: Path, stem: str, what: str) -> dict[Path, set[str] | None]:
    """Return the files in order, each with the tensors that the index says it holds; None where there is no index.

    Raises:
        CheckpointError: There are none, one is missing, or the index is damaged.
    """
    if not folder.is_dir():
        raise CheckpointError(what, got=f"no folder {folder}", allowed=_allowed(stem))
    single, index = folder / single_file(stem), folder / index_file(stem)
    if single.is_file() and index.is_file():
        raise CheckpointError(
            f"{what} in {folder}", got=f"both {single.name} and {index.name}", cure="remove the one that is not meant"
        )
    if single.is_file():
        return {single: None}
    if not index.is_file():
        raise _nothing_there(folder, stem, what)
    listed: dict[Path, set[str] | None] = {}
    for name, file in sorted(_read_index(index).items(), key=lambda pair: (pair[1], pair[0])):
        held = listed.setdefault(folder / file, set())
        assert held is not None
        held.add(name)
    if missing := [path.name for path in listed if not path.is_file()]:
        raise CheckpointError(
            f"{what} in {folder}",
            got=f"no file {list_some(missing)}",
            allowed=f"all {len(listed)} shards that {index.name} names",
            cure="fetch what is missing",
        )
    return listed


def _allowed(stem: str) -> str:
    return f"a folder with {single_file(stem)}, or {index_file(stem)} and its shards"


def _read_index(path: Path) -> dict[str, str]:
    if (size := path.stat().st_size) > MOST_JSON_BYTES:
        raise CheckpointError(f"index {path}", got=f"{size} bytes", allowed=f"up to {MOST_JSON_BYTES}")
    try:
        index = json.loads(path.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"index {path}", got=str(error)[:200], allowed="JSON", cure="fetch it again") from error
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise CheckpointError(f"index {path}", got="no weight_map", allowed="a table of tensors and their files")
    for file in listed.values():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(SUFFIX):
            raise CheckpointError(
                f"index {path}", got=f"file {file!r}", allowed=f"the name of a {SUFFIX} file next to it"
            )
    return listed


def _nothing_there(folder: Path, stem: str, what: str) -> CheckpointError:
    pickles = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
    if not pickles:
        found = list_some(path.name for path in folder.iterdir())
        return CheckpointError(f"{what} in {folder}", got=found or "an empty folder", allowed=_allowed(stem))
    return CheckpointError(
        f"{what} in {folder}",
        got=f"{list_some(path.name for path in pickles)}: pickles, refused because opening one can run code",
        allowed=_allowed(stem),
        cure="if you trust where they come from, convert them:\n" + _conversion(pickles, folder / single_file(stem)),
    )


def _conversion(pickles: list[Path], target: Path) -> str:
    return f"""\
import torch
from safetensors.torch import save_file

weights = {{}}
for file in {[str(path) for path in pickles]}:
    weights |= torch.load(file, weights_only=True, map_location="cpu")
weights = {{name: weight.clone().contiguous() for name, weight in weights.items()}}
save_file(weights, {str(target)!r}, metadata={{"format": "pt"}})
"""
