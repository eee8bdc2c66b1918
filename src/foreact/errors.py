"""Every error foreact raises on purpose: one tree, one shape of message.

A message names the thing, says what was got, what is allowed, and what to do about it.
"""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, distribution


def install_command(extra: str) -> str:
    """Return the pip command that adds an extra of foreact, from where foreact itself was installed.

    That may be a folder or a git repository rather than a package index; pip writes it down (`direct_url.json`).
    """
    try:
        source = json.loads(distribution("foreact").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:  # run from its source folder without being installed
        source = {}
    url, git = source.get("url", ""), source.get("vcs_info", {})
    if source.get("dir_info", {}).get("editable"):
        return f'pip install -e "{url.removeprefix("file://")}[{extra}]"'
    if git:
        return f'pip install "foreact[{extra}] @ {git["vcs"]}+{url}@{git["commit_id"]}"'
    return f'pip install "foreact[{extra}] @ {url}"' if url else f'pip install "foreact[{extra}]"'


class ForeactError(Exception):
    """Base of all errors a user can cause and cure."""

    def __init__(self, what: str, *, got: object = None, allowed: object = None, cure: str | None = None):
        """Compose the message.

        Args:
            what: The thing that is wrong, named as the user knows it.
            got: What was found.
            allowed: What would have been right.
            cure: What to do now, as an imperative sentence.
        """
        parts = [what]
        if got is not None:
            parts.append(f"got: {got}")
        if allowed is not None:
            parts.append(f"allowed: {allowed}")
        if cure is not None:
            parts.append(cure)
        super().__init__("; ".join(parts))


class ConfigurationError(ForeactError, ValueError):
    """A setting that cannot be, alone or with another."""


def check_seed(seed: int) -> None:
    """Refuse a seed from which no generator can begin."""
    if seed < 0:
        raise ConfigurationError("seed", got=seed, allowed="0 or more")


class UnknownNameError(ConfigurationError):
    """A name that is in no list of ours; the message lists the names that are."""

    def __init__(self, kind: str, got: str, names: Iterable[str]):
        """Compose the message.

        Args:
            kind: What sort of name, for example "task".
            got: The unknown name.
            names: The names that would have worked.
        """
        known = sorted(names)
        close = get_close_matches(got, known, n=1)
        cure = f"did you mean {close[0]!r}?" if close else None
        super().__init__(f"unknown {kind}", got=repr(got), allowed=", ".join(known), cure=cure)


class NotInstalledError(ForeactError, ImportError):
    """A part of foreact whose packages are not installed."""

    def __init__(self, what: str, *, missing: str | None, extra: str = "policy", cure: str | None = None):
        """Compose the message.

        Args:
            what: What cannot be used.
            missing: The package that was not found.
            extra: Which extra of foreact brings it.
            cure: What to do, where no extra brings it.
        """
        super().__init__(what, got=f"{missing} is not installed", cure=cure or install_command(extra))


class InputError(ForeactError, ValueError):
    """An observation, an action or an image that cannot be used."""


class DatasetError(ForeactError):
    """A dataset on disk that is incomplete, damaged or of the wrong kind."""


class CheckpointError(ForeactError):
    """A checkpoint that is missing, damaged, or of another configuration."""


class TrainingError(ForeactError):
    """A training run that cannot go on."""


class CapacityError(ForeactError):
    """No room for more now; what runs goes on."""


class SimulationError(ForeactError):
    """The simulator cannot run or was misused."""
