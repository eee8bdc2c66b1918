"""A name becomes a folder: one on this machine, or a repository of the Hugging Face hub, fetched once."""

import errno
import re
import shutil
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from foreact.errors import CheckpointError

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
REFUSED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.py")
"""Pickles and programs: they are never fetched, whatever is asked for."""


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
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise _no_policy(name, f"no folder {name!r}")
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    try:
        fetched = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache,
            allow_patterns=list(WANTED if allow_patterns is None else allow_patterns),
            ignore_patterns=list(REFUSED),
            local_files_only=constants.HF_HUB_OFFLINE,
        )
    except Exception as error:  # huggingface_hub lets errors of its transport library through, which it has changed
        raise _explain(error, name, revision, cache) from error
    return Path(fetched)


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


def _explain(error: Exception, name: str, revision: str | None, cache: Path) -> CheckpointError:
    what, page = f"repository {name!r}", f"{constants.ENDPOINT}/{name}"
    if isinstance(error, GatedRepoError):
        return CheckpointError(
            what,
            got="its owners ask who fetches it (gated), and you have not been let in",
            cure=f"accept its licence at {page}, then run `hf auth login` with a token of that account",
        )
    if isinstance(error, RevisionNotFoundError):
        cure = f"leave it out for the newest, or choose one from {page}/commits/main"
        return CheckpointError(f"revision of {what}", got=repr(revision), cure=cure)
    if isinstance(error, HFValidationError):
        return _no_policy(name, _first_line(error))
    if isinstance(error, RepositoryNotFoundError):
        close = _did_you_mean(name)
        cure = "if it is private, run `hf auth login` with a token of an account that may read it"
        return CheckpointError(what, got="absent, or private", cure=f"{close} {cure}" if close else cure)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CheckpointError(
            what,
            got=f"{error.strerror}: {cache} has {_free_gb(cache):.1f} GB free",
            cure="free some space, or keep repositories on another disk (cache_dir, or HF_HOME); whole files are kept",
        )
    if _is_network(error):
        return CheckpointError(
            what,
            got=f"{_reason(error)}; not, or not whole, in the offline cache {cache}, where foreact looked",
            cure=f"try again with a network, or where there is one run `hf download {name} --local-dir DIR`, "
            'bring DIR here, and name it instead: foreact.load("DIR")',
        )
    return CheckpointError(what, got=_first_line(error), cure="try again: files that were fetched whole are kept")


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
