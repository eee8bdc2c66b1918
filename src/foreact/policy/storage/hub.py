"""A name becomes a folder: one on this machine, or a repository of the Hugging Face hub, fetched once."""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from foreact.errors import CheckpointError
from foreact.hub import REFUSED, fetch, is_repository

WAN = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
"""Where the video stream of a full-size network comes from."""
RELEASED = (
    "robbyant/lingbot-va-base",
    "robbyant/lingbot-va-posttrain-libero-long",
    "robbyant/lingbot-va-posttrain-robotwin",
    WAN,
)
"""Repositories whose weights foreact reads."""
WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.toml", "*.md")


def resolve(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    allow_patterns: Sequence[str] | None = None,
    cache_dir: Path | None = None,
) -> Path:
    """A folder as it is; of a repository "owner/name" the folder it was fetched into, with progress bars.

    What was fetched before is not fetched again, and with HF_HUB_OFFLINE=1, or without a network, only that is used.

    Args:
        name_or_path: A folder, or "owner/name".
        revision: Branch, tag or commit of the repository; None: its newest state.
        allow_patterns: Which files, as in `*.json`; None: all that a policy may consist of.
        cache_dir: Where repositories are kept; None: where huggingface_hub keeps them.

    Raises:
        CheckpointError: There is no such folder, or the repository cannot be had; the message says what to do.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir() and name_or_path != "":
        if revision is not None:
            raise CheckpointError(f"revision of the folder {folder}", got=revision, allowed="none: leave it out")
        return folder
    name = str(name_or_path)
    if folder.is_file():
        raise _no_policy(name, f"the file {folder}")
    if not is_repository(name):
        raise _no_policy(name, f"no folder {name!r}")
    return fetch(
        name,
        kind="model",
        revision=revision,
        allow_patterns=WANTED if allow_patterns is None else allow_patterns,
        ignore_patterns=REFUSED,
        cache_dir=cache_dir,
        raises=CheckpointError,
        instead='name it instead: foreact.load("DIR")',
        suggestion=_did_you_mean(name),
    )


def _no_policy(name: str, got: str) -> CheckpointError:
    shipped = Path(str(files("foreact"))) / "checkpoints"
    names = sorted(path.name for path in shipped.iterdir()) if shipped.is_dir() else []
    allowed = f'a folder, "owner/name" on the hub, or one of: {", ".join([*names, *RELEASED])}'
    return CheckpointError("policy", got=got, allowed=allowed, cure=_did_you_mean(name, names))


def _did_you_mean(name: str, shipped: Sequence[str] = ()) -> str | None:
    names = {known.lower(): known for known in (*shipped, *RELEASED)}
    names |= {known.rpartition("/")[2].lower(): known for known in RELEASED}
    close = get_close_matches(name.lower(), names, n=1)
    return f"did you mean {names[close[0]]!r}?" if close else None
