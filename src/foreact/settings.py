"""Settings as plain data: dataclasses to and from what JSON and TOML can hold, every mistake an error."""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from foreact.errors import CheckpointError, ConfigurationError, UnknownNameError

T = TypeVar("T")
MOST_JSON_BYTES = 16 * 2**20
"""Of a configuration."""


def to_plain(value: Any) -> Any:
    """Numbers, strings, lists and dicts only; `from_plain` is the inverse."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(cls: type[T], data: Any, what: str, **builders: Callable[[Any], Any]) -> T:
    """An instance of the dataclass `cls`, every value of the type its annotation asks for.

    Whole numbers become floats where these are asked for, so that equal settings are saved as equal text.

    Args:
        cls: The dataclass to make.
        data: Field names to plain values; lists become tuples.
        what: What `cls` describes, for the messages.
        builders: Per field, what makes its value from the plain one (for nested dataclasses).

    Raises:
        ConfigurationError: `data` is no mapping, has an unknown key, lacks one that has no default, or has a
            value of another type.
    """
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"settings of {what}", got=repr(data), allowed="a table of names and values")
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise UnknownNameError(f"setting of {what}", str(key), known)
    required = [f.name for f in known.values() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in data]:
        raise ConfigurationError(f"{what} lacks settings", got=", ".join(data), cure=f"add {', '.join(missing)}")
    built = {key: v if v is None else builders.get(key, _freeze)(v) for key, v in data.items()}
    return cls(**{key: _checked(f"{key} of {what}", v, known[key].type) for key, v in built.items()})


def build(annotation: Any, data: Any, what: str) -> Any:
    """Return a value of a type from plain data, however deeply dataclasses are nested in it.

    Args:
        annotation: The type: a dataclass, a path, a number, a string, a tuple, a literal, or a union of these.
        data: What `to_plain` made of such a value.
        what: What the value is, for the messages.

    Raises:
        ConfigurationError: The data has an unknown key, lacks a needed one, or is of another type.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if is_dataclass(annotation) and isinstance(annotation, type):
        hints = get_type_hints(annotation)
        builders = {name: partial(build, hint, what=f"{name} of {what}") for name, hint in hints.items()}
        return from_plain(annotation, data, what, **builders)
    if origin in (Union, types.UnionType):
        members = [arg for arg in args if arg is not type(None)]
        if data is not None and len(members) == 1:
            return build(members[0], data, what)
    if origin is tuple and isinstance(data, (list, tuple)) and args[-1] is ...:
        return tuple(build(args[0], item, what) for item in data)
    if annotation is Path and isinstance(data, str):
        return Path(data)
    return _checked(what, _freeze(data), annotation)


def read_json(path: Path) -> dict[str, Any]:
    """The table in a JSON file.

    Raises:
        CheckpointError: It is missing, no JSON, or no table.
    """
    try:
        stored = json.loads(_read_text(path))
    except OSError as error:
        got = error.strerror if path.parent.exists() else f"there is no folder {path.parent} either"
        cure = "check the path; of a folder that was downloaded or copied, get the whole"
        raise CheckpointError(f"no file {path}", got=got, cure=cure) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"configuration {path}", got=str(error)[:200], allowed="JSON", cure="fetch it again: it is damaged"
        ) from error
    if not isinstance(stored, dict):
        raise CheckpointError(f"configuration {path}", got=type(stored).__name__, allowed="a table of names and values")
    return stored


def _read_text(path: Path) -> str:
    """Return what is in a file; a pipe or a device, which may never end, and what is far too large are refused."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise CheckpointError(f"configuration {path}", got="no ordinary file", allowed="JSON in a file")
    if (size := path.stat().st_size) > MOST_JSON_BYTES:
        raise CheckpointError(f"configuration {path}", got=f"{size} bytes", allowed=f"up to {MOST_JSON_BYTES}")
    return path.read_text()


def list_builder(what: str, build: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
    """A builder for `from_plain` that makes one item from each plain one.

    Raises:
        ConfigurationError: (The builder) what it is given is no list.
    """

    def build_all(items: Any) -> tuple[T, ...]:
        if not isinstance(items, (list, tuple)):
            raise ConfigurationError(what, got=repr(items), allowed="a list of tables")
        return tuple(build(item) for item in items)

    return build_all


def _checked(what: str, value: Any, annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if not _conforms(value, annotation):
        raise ConfigurationError(f"setting {what}", got=repr(value), allowed=_describe(annotation))
    return _plain_numbers(value, annotation)


def _plain_numbers(value: Any, annotation: Any) -> Any:
    kinds = get_args(annotation)
    if isinstance(value, tuple):
        return tuple(_plain_numbers(item, kinds[0]) for item in value)
    if annotation is float or (float in kinds and value is not None):
        return float(value)
    return value


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, (list, tuple)) else value


def _conforms(value: Any, annotation: Any) -> bool:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return isinstance(value, str) and value in args
    if origin in (Union, types.UnionType):
        return any(_conforms(value, arg) for arg in args)
    if origin is tuple:
        items = args[:1] * len(value) if isinstance(value, tuple) and args[-1] is ... else args
        return (
            isinstance(value, tuple)
            and len(value) == len(items)
            and all(_conforms(item, arg) for item, arg in zip(value, items, strict=True))
        )
    number = {int: Integral, float: Real}.get(annotation)
    if number is not None:
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, annotation)


def _describe(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    return getattr(annotation, "__name__", str(annotation)) if not get_args(annotation) else str(annotation)
