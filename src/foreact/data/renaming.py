"""Names of a dataset's columns and cameras, and what foreact calls them."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from foreact.errors import DatasetError

CAMERA_PREFIX = "observation.images."
"""Begins the key of every camera in foreact; LeRobot's recorders use the same."""
ACTION, STATE = "action", "observation.state"
PLAIN_CAMERAS = ("observation.image", "observation.images", "observation.images.image", "image")
"""Names that say no more than "the camera": a dataset's only camera of such a name is the robot's only one."""
OTHER_FORMS = ("observation.image.{}", "observation.{}", "images.{}", "{}")
"""How other programs name the camera that is called `observation.images.{}` here."""


def parse_renames(words: Iterable[str]) -> dict[str, str]:
    """Return the mapping in words such as `observation.image=top`: the dataset's name, then foreact's.

    A new name without a dot is a camera, except `action` and `state`.

    Raises:
        DatasetError: A word without "=", or a name given twice.
    """
    renames: dict[str, str] = {}
    for word in words:
        old, _, new = word.partition("=")
        if not (old and new):
            raise DatasetError("--rename", got=repr(word), allowed="OLD=NEW, for example observation.image=top")
        full = {"state": STATE, "action": ACTION}.get(new, new if "." in new else CAMERA_PREFIX + new)
        if old in renames or full in renames.values():
            raise DatasetError("--rename", got=f"{word!r} after another of that name", allowed="every name once")
        renames[old] = full
    return renames


class Renaming:
    """A dataset's features under foreact's names."""

    def __init__(self, where: str, features: Mapping[str, Any], renames: Mapping[str, str]):
        """Apply the renames.

        Raises:
            DatasetError: The dataset has no feature of an old name, or has one of a new name already.
        """
        for old, new in renames.items():
            if old not in features:
                close = get_close_matches(old, features, n=1)
                cure = f"did you mean {close[0]}?" if close else None
                raise DatasetError(
                    f"{where}: --rename {old}={new}", got="no such name", allowed=", ".join(features), cure=cure
                )
            if new in features and new not in renames:
                raise DatasetError(
                    f"{where}: --rename {old}={new}",
                    got=f"another feature called {new}",
                    allowed="a name that is free",
                    cure=f"rename that one as well: {new}=SOMETHING",
                )
        self.features = {renames.get(name, name): feature for name, feature in features.items()}
        self._originals = {new: old for old, new in renames.items()}

    def original(self, name: str) -> str:
        """Return the dataset's own name of a feature."""
        return self._originals.get(name, name)


def propose_renames(cameras: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return which of a dataset's cameras are the wanted ones under a name that can mean nothing else.

    Args:
        cameras: Keys of the dataset's cameras.
        wanted: The robot's names of its cameras.
    """
    there, names = list(cameras), list(wanted)
    renames = {}
    for name in names:
        if CAMERA_PREFIX + name in there:
            continue
        if found := [form.format(name) for form in OTHER_FORMS if form.format(name) in there]:
            renames[found[0]] = CAMERA_PREFIX + name
    if len(there) == len(names) == 1 and there[0] in PLAIN_CAMERAS:
        renames[there[0]] = CAMERA_PREFIX + names[0]
    return renames


def rename_hint(missing: str, there: Iterable[str]) -> str:
    """Return the option that says which of a dataset's features a missing one is."""
    new = missing.removeprefix(CAMERA_PREFIX)
    new = "state" if missing == STATE else new
    olds = list(there)
    if not olds:
        return "the dataset has none of that kind"
    return f"say which one it is: --rename {olds[0] if len(olds) == 1 else 'NAME'}={new}"
