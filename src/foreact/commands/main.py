"""The `foreact` command: finds the command that was asked for, imports that one alone, and runs it."""

import errno
import importlib
import shutil
import signal
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from types import ModuleType

from foreact import __version__
from foreact.commands.table import COMMANDS
from foreact.errors import ForeactError, NotInstalledError, UnknownNameError

INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell expects it: 128 and the number of the signal."""
MISTAKE = 2
"""Exit status after a mistake of the user's."""
DISKS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or choose another disk"),
    errno.EROFS: "choose a folder that can be written to",
}
"""What to do about errors of disks, by their number: they can come at any moment, whatever was checked before."""
EXTRAS = {
    **dict.fromkeys(("mujoco", "gymnasium", "gym_aloha"), "sim"),
    "tensorboard": "train",
    "prometheus_client": "serve",
    **dict.fromkeys(("viser", "trimesh"), "play"),
}
"""Which extra of foreact brings a package; any other package comes with `policy`."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command; exit with 2 after a mistake of the user's, with 130 after Ctrl-C.

    Args:
        arguments: The words after `foreact`; None: those of this process.
    """
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except ForeactError as error:
        word = "\033[1;31merror:\033[0m" if sys.stderr.isatty() else "error:"
        print(word, error, file=sys.stderr)  # not with rich, which need not be installed
        raise SystemExit(MISTAKE) from error
    except OSError as error:
        if error.errno not in DISKS:
            raise
        print("error:", f"{error}; {DISKS[error.errno]}, then repeat the command", file=sys.stderr)
        raise SystemExit(MISTAKE) from error
    except KeyboardInterrupt:
        print("stopped. Nothing finished is lost: repeat the command to go on.", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


def _run(given: list[str]) -> None:
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        return
    if given[0] in ("-V", "--version"):
        print(f"foreact {__version__}")
        return
    name = given[0]
    if name not in COMMANDS:
        raise UnknownNameError("command", name, COMMANDS)
    module = load_command(name)
    from foreact.commands.parsing import parse

    settings = parse(name, module, given[1:])
    if settings is not None:
        with _interrupts_raise():
            module.run(settings)


def load_command(name: str) -> ModuleType:
    """Import the module of a command.

    Raises:
        NotInstalledError: A package that it needs is not installed.
    """
    try:
        return importlib.import_module(f"foreact.commands.{COMMANDS[name].module}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "foreact":
            raise
        extra = EXTRAS.get((error.name or "").partition(".")[0], "policy")
        raise NotInstalledError("the foreact command", missing=error.name, extra=extra) from error


def overview() -> str:
    """Return the text of `foreact --help`."""
    width = min(100, shutil.get_terminal_size().columns)
    lines = [
        "foreact: imagine, then act.",
        "",
        "usage: foreact COMMAND [OPTIONS]",
        "       foreact COMMAND --help     explains a command, with an example",
        "       foreact --version",
    ]
    indent = " " * (max(map(len, COMMANDS)) + 4)
    for group, members in groupby(COMMANDS.items(), key=lambda item: item[1].group):
        lines += ["", f"{group}:"]
        for name, command in members:
            start = f"  {name}".ljust(len(indent))
            lines.append(textwrap.fill(command.summary, width, initial_indent=start, subsequent_indent=indent))
    return "\n".join(lines)


@contextmanager
def _interrupts_raise() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, so that a command can finish its files.

    Before and after, `foreact.__main__` has the process end at once: an exception in the middle of an import may come
    out as another one, with a traceback that helps nobody.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
