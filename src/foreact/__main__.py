"""The `foreact` command, also as `python -m foreact`."""

import os
import signal
import sys


def _leave(number: int, frame: object) -> None:
    """End at once and quietly: while modules are imported there is nothing to finish."""
    os._exit(130)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, _leave)
    from foreact.commands.main import main as run

    try:
        try:
            run()
        finally:
            sys.stdout.flush()  # here rather than when Python ends, which would complain
    except BrokenPipeError:  # whoever read our output has seen enough of it: `foreact --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
