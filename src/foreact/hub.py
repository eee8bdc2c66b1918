"""A repository of the Hugging Face hub, fetched once: of policies and of datasets alike."""

import errno
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from foreact.errors import ForeactError

REFUSED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.py")
"""Pickles and programs: they are never fetched, whatever is asked for."""


def is_repository(name: str) -> bool:
    """Return whether a name is written as repositories are: "owner/name"."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) is not None


def fetch(
    name: str,
    *,
    kind: Literal["model", "dataset"],
    revision: str | None,
    allow_patterns: Sequence[str],
    ignore_patterns: Sequence[str] = REFUSED,
    cache_dir: Path | None = None,
    raises: type[ForeactError],
    instead: str,
    suggestion: str | None = None,
) -> Path:
    """Return the folder that a repository was fetched into, with progress bars.

    What was fetched before is not fetched again, and with HF_HUB_OFFLINE=1, or without a network, only that is used.

    Args:
        name: "owner/name".
        kind: What kind of repository.
        revision: Branch, tag or commit; None: its newest state.
        allow_patterns: Which files.
        ignore_patterns: Which of them not.
        cache_dir: Where repositories are kept; None: where huggingface_hub keeps them.
        raises: Error where it cannot be had.
        instead: How to use a folder DIR instead, for messages.
        suggestion: What may have been meant, for messages.
    """
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    try:
        fetched = snapshot_download(
            name,
            repo_type=kind,
            revision=revision,
            cache_dir=cache,
            allow_patterns=list(allow_patterns),
            ignore_patterns=list(ignore_patterns),
            local_files_only=constants.HF_HUB_OFFLINE,
        )
    except Exception as error:  # huggingface_hub lets errors of its transport library through, which it has changed
        raise _explain(error, name, kind, revision, cache, raises, instead, suggestion) from error
    return Path(fetched)


def _explain(
    error: Exception,
    name: str,
    kind: str,
    revision: str | None,
    cache: Path,
    raises: type[ForeactError],
    instead: str,
    suggestion: str | None,
) -> ForeactError:
    what = f"repository {name!r}" if kind == "model" else f"dataset {name!r} on the hub"
    page = f"{constants.ENDPOINT}/{name}" if kind == "model" else f"{constants.ENDPOINT}/datasets/{name}"
    if isinstance(error, GatedRepoError):
        return raises(
            what,
            got="its owners ask who fetches it (gated), and you have not been let in",
            cure=f"accept its licence at {page}, then run `hf auth login` with a token of that account",
        )
    if isinstance(error, RevisionNotFoundError):
        cure = f"leave it out for the newest, or choose one from {page}/commits/main"
        return raises(f"revision of {what}", got=repr(revision), cure=cure)
    if isinstance(error, HFValidationError):
        return raises(what, got=_first_line(error), allowed='a folder, or "owner/name" as the hub writes names')
    if isinstance(error, RepositoryNotFoundError):
        cure = "if it is private, run `hf auth login` with a token of an account that may read it"
        return raises(what, got="absent, or private", cure=f"{suggestion} {cure}" if suggestion else cure)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return raises(
            what,
            got=f"{error.strerror}: {cache} has {_free_gb(cache):.1f} GB free",
            cure="free some space, or keep repositories on another disk (cache_dir, or HF_HOME); whole files are kept",
        )
    if _is_network(error):
        option = "" if kind == "model" else " --repo-type dataset"
        return raises(
            what,
            got=f"{_reason(error)}; not, or not whole, in the offline cache {cache}, where foreact looked",
            cure=f"try again with a network, or where there is one run `hf download {name}{option} --local-dir DIR`, "
            f"bring DIR here, and {instead}",
        )
    return raises(what, got=_first_line(error), cure="try again: files that were fetched whole are kept")


def _is_network(error: Exception) -> bool:
    offline = isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError))
    return offline or type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "requests")


def _reason(error: Exception) -> str:
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
    return f"{constants.ENDPOINT} cannot be reached ({_first_line(cause)})"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"


def _free_gb(folder: Path) -> float:
    standing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(standing).free / 1e9
