"""From the words after a command to its settings."""

import inspect
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import tyro

from foreact.errors import CheckpointError, ConfigurationError, UnknownNameError
from foreact.settings import build, read_json, to_plain

COMMAND = "command"
"""Key in a settings file that names the command it is for."""
MARKERS = (tyro.conf.AvoidSubcommands, tyro.conf.DisallowNone)
"""Optional groups of settings are flags like all others; None is a default and never typed."""
FOOTER = "--config FILE takes settings from a file, and flags win over it; --print-config writes one."


def parse(name: str, module: ModuleType, words: Sequence[str]) -> Any:
    """Return the command's settings; None if they were printed (`--print-config`) instead.

    Args:
        name: Of the command.
        module: Its module, with a dataclass `Settings` and, where defaults depend on a flag, a function `defaults`.
        words: The arguments after the command's name.

    Raises:
        ConfigurationError: A flag is given twice, or the settings file is wrong.
        SystemExit: Anything else is wrong, or help was asked for; what is wrong was printed.
    """
    words = [expand_home(word) for word in words]
    _check_given_once(words)
    prints = "--print-config" in words
    if prints:
        words.remove("--print-config")
    config = _take_value("--config", words)
    from_file = {} if config is None else read_settings(Path(config), name, module.Settings)
    settings = tyro.cli(
        module.Settings,
        prog=f"foreact {name}",
        description=f"{inspect.getdoc(module.Settings)}\n\n{FOOTER}",
        args=words,
        default=empty_settings(module, words, from_file),
        config=MARKERS,
    )
    if not prints:
        return settings
    print(json.dumps({COMMAND: name, **to_plain(settings)}, indent=1))
    return None


def expand_home(word: str) -> str:
    """Return a word with the home folder for a tilde, also after "=", where shells leave it: --out=~/x, top=~/x.png."""
    before, equals, value = word.partition("=")
    if equals and value.startswith("~") and "/" not in before:
        return f"{before}={Path(value).expanduser()}"
    return str(Path(word).expanduser()) if word.startswith("~") else word


def read_settings(path: Path, name: str, cls: type) -> dict[str, Any]:
    """Return the settings in a file, as `--print-config` writes it; it need not hold all of them.

    Raises:
        ConfigurationError: It cannot be read, is for another command, or holds a setting that the command has not.
    """
    try:
        plain = read_json(path)
    except CheckpointError as error:
        raise ConfigurationError(f"--config {path}", got=error) from error
    if plain.pop(COMMAND, name) != name:
        raise ConfigurationError(f"--config {path}", got="settings of another command", allowed=f"those of {name}")
    types = get_type_hints(cls)
    for key in plain:
        if key not in types:
            raise UnknownNameError(f"setting of foreact {name} in {path}", key, types)
    return {key: build(types[key], value, f"{key} in {path}") for key, value in plain.items()}


def empty_settings(module: ModuleType, words: Sequence[str] = (), from_file: Mapping[str, Any] | None = None) -> Any:
    """Return settings in which what must still be given is marked as missing; they are checked when complete.

    Args:
        module: Of the command.
        words: The flags that were given, on some of which defaults depend.
        from_file: Settings that are known already.
    """
    known = dict(from_file or {})
    made = object.__new__(module.Settings)
    values = {field.name: _default(field) for field in fields(module.Settings)}
    if hasattr(module, "defaults"):
        values |= module.defaults(words, known)
    for key, value in (values | known).items():
        object.__setattr__(made, key, value)
    return made


def _default(field: Any) -> Any:
    if field.default is not MISSING:
        return field.default
    return tyro.MISSING if field.default_factory is MISSING else field.default_factory()


def value_of(flag: str, words: Sequence[str]) -> str | None:
    """Return what stands after a flag, `--flag value` or `--flag=value`; None if it is not there."""
    return _take_value(flag, list(words))


def _take_value(flag: str, words: list[str]) -> str | None:
    """Take a flag and its value out of the words, and return the value."""
    for index, word in enumerate(words):
        if word.startswith(f"{flag}="):
            return words.pop(index).partition("=")[2]
        if word == flag:
            if index + 1 == len(words):
                raise ConfigurationError(flag, got="nothing after it", allowed=f"{flag} VALUE")
            del words[index]
            return words.pop(index)
    return None


def _check_given_once(words: Sequence[str]) -> None:
    """Refuse a flag that is given twice: the parser would take its last values and forget the others."""
    flags = Counter(word.partition("=")[0] for word in words if word.startswith("--"))
    for flag, count in flags.items():
        if count > 1:
            cure = f"give all values of a list after one: {flag} A B"
            raise ConfigurationError(flag, got=f"{count} times", allowed="once", cure=cure)
