"""The fields of messages: what each may hold, and how that is checked."""

from collections.abc import Callable, Mapping
from itertools import islice
from math import isfinite
from typing import Annotated, Any

import numpy as np

from foreact.control.packing import to_native

_ACTIONS, _STATE = "float32 [num_actions, num_dofs], finite", "float32 [num_entries], finite"
_LATENTS = "float32 [channels, frames, height, width], finite"
_PICTURES, _CLIPS = "uint8 [height, width, 3] per camera", "uint8 [time, height, width, 3] per camera"

_MOST_LOOKED_AT = 2**16
"""Numbers of an array that is refused anyway among which one that is not finite is still looked for."""

Actions = Annotated[np.ndarray, _ACTIONS]
State = Annotated[np.ndarray, _STATE]
MaybeState = Annotated[np.ndarray | None, _STATE]
MaybeLatents = Annotated[np.ndarray | None, _LATENTS]
Pictures = Annotated[Mapping[str, np.ndarray], _PICTURES]
Clips = Annotated[Mapping[str, np.ndarray], _CLIPS]
Milliseconds = Mapping[str, float]
Reader = tuple[str, Callable[[Any], bool]]
"""What is allowed, in words, and whether a value is."""


def describe(value: Any, depth: int = 1) -> str:
    """Return what a value is, briefly, for a message to people; of maps in maps, `depth` levels."""
    if isinstance(value, np.ndarray):
        finite = value.dtype.kind != "f" or value.size > _MOST_LOOKED_AT or np.isfinite(value).all()
        return f"{value.dtype} {list(value.shape)}" + ("" if finite else " with numbers that are not finite")
    if isinstance(value, dict) and depth:
        entries = [
            f"{key[:40] if isinstance(key, str) else _brief(key)[:40]}: {describe(each, depth - 1)}"
            for key, each in islice(value.items(), 8)
        ]
        return "{" + ", ".join(entries) + "}"
    return _brief(value)


def _brief(value: Any) -> str:
    if isinstance(value, dict | list):  # printing it whole could take for ever
        return f"{type(value).__name__} of {len(value)} entries"
    return repr(value[:80] if isinstance(value, str | bytes) else value)[:80]


def _is_array(value: Any, dtype: type, num_dims: int) -> bool:
    right = isinstance(value, np.ndarray) and value.dtype.newbyteorder("=") == dtype and value.ndim == num_dims
    return right and (dtype is np.uint8 or bool(np.isfinite(value).all()))


def _are_images(value: Any, num_dims: int) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and _is_array(image, np.uint8, num_dims) and image.shape[-1] == 3
        for name, image in value.items()
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and _is_number(v) for k, v in value.items())


def _are_lists_of_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(k, str) and isinstance(v, list) and all(n is None or _is_number(n) for n in v)
        for k, v in value.items()
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(k, str) and isinstance(v, list) and len(v) == 2 and all(_is_whole(n) for n in v)
        for k, v in value.items()
    )


def _or_none(reader: Reader) -> Reader:
    return f"{reader[0]}, or nil", lambda value: value is None or reader[1](value)


def accept(value: Any) -> Any:
    """Return a field's value that was found right; arrays as copies, in this machine's order of bytes."""
    if isinstance(value, np.ndarray):
        return to_native(value)
    return {name: accept(each) for name, each in value.items()} if isinstance(value, dict) else value


_TEXT = ("text", lambda value: isinstance(value, str))
_NUMBER = ("a finite number", _is_number)
READERS: dict[Any, Reader] = {
    str: _TEXT,
    str | None: _or_none(_TEXT),
    int: ("a whole number, 0 or more", _is_whole),
    float: _NUMBER,
    float | None: _or_none(_NUMBER),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    list[str]: ("a list of texts", _are_texts),
    Mapping[str, float]: ("numbers by name", _are_numbers),
    Mapping[str, list[float | None]]: ("numbers, or nil, by name", _are_lists_of_numbers),
    Mapping[str, list[int]]: ("two sizes by name", _are_sizes),
    Pictures: (_PICTURES, lambda value: _are_images(value, 3)),
    Clips: (_CLIPS, lambda value: _are_images(value, 4)),
    Actions: (_ACTIONS, lambda value: _is_array(value, np.float32, 2)),
    State: (_STATE, lambda value: _is_array(value, np.float32, 1)),
    MaybeState: _or_none((_STATE, lambda value: _is_array(value, np.float32, 1))),
    MaybeLatents: _or_none((_LATENTS, lambda value: _is_array(value, np.float32, 4))),
}
"""By the type that a message's field is declared with."""
