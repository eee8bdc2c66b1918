"""How many processes train together: one."""

import os

from foreact.errors import ConfigurationError


def check_alone() -> None:
    """Refuse to train as one of several processes: each would do the whole training, and all write one folder.

    Raises:
        ConfigurationError: `torchrun`, or another launcher that sets WORLD_SIZE, has started more than one.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count not in ("", "1"):
        raise ConfigurationError(
            "processes of one training",
            got=f"{count} (WORLD_SIZE)",
            allowed="1: training is not spread over processes or machines yet",
            cure="start `foreact train` without torchrun, or with --nproc-per-node 1",
        )
