"""How much disk a training takes, said and checked before its first step."""

import shutil
from pathlib import Path

from foreact.errors import ConfigurationError
from foreact.training.sharded_state import NUM_KEPT

FLOAT32 = 4
STATE_NUMBERS = 4
"""A state holds a trained weight, its average and two moments."""
GB = 1e9


def disk_bytes(num_trained: int, num_weights: int, num_processes: int) -> int:
    """Return the most that a run has on disk: its states and its policy, and one more of each while it is written.

    Args:
        num_trained: Weights that are trained, those of adapters among them.
        num_weights: Weights of the network; a policy holds them in float32.
        num_processes: One keeps a single state, several keep the latest two.
    """
    kept = NUM_KEPT if num_processes > 1 else 1
    return FLOAT32 * ((kept + 1) * STATE_NUMBERS * num_trained + 2 * num_weights)


def check_disk(folder: Path, needed: int) -> str:
    """Return a sentence on how much a run will take of the disk, and how much is free.

    Args:
        folder: Of the run; what lies in it already counts as free, since it is written over.
        needed: From `disk_bytes`.

    Raises:
        ConfigurationError: There is not so much.
    """
    taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free + taken
    if needed > free:
        raise ConfigurationError(
            f"disk of {folder}",
            got=f"{free / GB:.2f} GB free",
            allowed=f"{needed / GB:.2f} GB or more, for states and policies",
            cure="free some space, or train into a folder on another disk",
        )
    return f"states and policies take at most {needed / GB:.2f} GB of disk; {free / GB:.2f} GB are free"
