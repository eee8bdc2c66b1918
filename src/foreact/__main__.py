"""The `foreact` command, also as `python -m foreact`; says what is missing where only the robot's side is installed."""

import sys

from foreact.errors import NotInstalledError


def main() -> None:
    """Run the command line."""
    try:
        from foreact import cli
    except ModuleNotFoundError as error:
        sys.exit(f"error: {NotInstalledError('the foreact command', missing=error.name, extra='policy')}")
    cli.main()


if __name__ == "__main__":
    main()
