"""The `foreact` command, also as `python -m foreact`; says what is missing where only the robot's side is installed."""

import os
import sys

from foreact.errors import NotInstalledError


def main() -> None:
    """Run the command line."""
    try:
        from foreact import cli
    except ModuleNotFoundError as error:
        sys.exit(f"error: {NotInstalledError('the foreact command', missing=error.name, extra='policy')}")
    try:
        try:
            cli.main()
        finally:
            sys.stdout.flush()  # here rather than when Python ends, which would complain
    except BrokenPipeError:  # whoever read our output has seen enough of it: `foreact --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
