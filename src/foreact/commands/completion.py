"""`foreact completion`."""

import inspect
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from foreact.commands.main import load_command
from foreact.commands.parsing import MARKERS, empty_settings
from foreact.commands.table import COMMANDS


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Print a script that completes this command's words on Tab.

    Commands, their flags, and the names that a flag takes. For bash:
    foreact completion bash > ~/.local/share/bash-completion/completions/foreact

    Example: foreact completion bash
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """For which shell."""


def run(settings: Settings) -> None:
    """Print the script; every command is imported for it."""
    tyro.cli(
        _all_commands(),
        prog="foreact",
        args=["--tyro-print-completion", settings.shell],
        config=MARKERS,
    )


def _all_commands() -> Any:
    """Return a type of which each command's settings are one member."""
    members = []
    for name in COMMANDS:
        module = load_command(name)
        about = inspect.getdoc(module.Settings)
        member = tyro.conf.subcommand(name=name, default=empty_settings(module), description=about)
        members.append(Annotated[module.Settings, member])
    union = members[0]
    for member in members[1:]:
        union = union | member
    return union
