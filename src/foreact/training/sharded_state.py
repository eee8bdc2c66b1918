"""The state of a training of several processes on disk: each writes and reads its own part, in safetensors.

`state/step-00000500/` holds one file a process, written by torch.distributed.checkpoint in Hugging Face's layout, and
`complete.json`, written last: a folder without it was being written when the training was killed, and counts for
nothing. The latest two are kept. Any number of processes can go on from it, one among them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter

from foreact.errors import CheckpointError
from foreact.files import write_whole
from foreact.settings import read_json
from foreact.training.ranks import Ranks
from foreact.training.state import TrainingState, check_configuration

FOLDER, COMPLETE = "state", "complete.json"
NUM_KEPT = 2
MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of a weight."""


def save_sharded(state: TrainingState, folder: Path, configuration: dict[str, Any], ranks: Ranks) -> None:
    """Write the state of a run's step; all processes have to take part.

    Raises:
        CheckpointError: It could not be written; those written before stand.
    """
    target = folder / FOLDER / f"step-{state.step:08d}"
    if ranks.is_first:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
    ranks.wait()
    try:
        dcp.save(_flat(state), storage_writer=HuggingFaceStorageWriter(str(target), save_distributed=True))
    except (OSError, dcp.CheckpointException) as error:
        raise CheckpointError(
            f"writing {target}", got=str(error)[:300], cure="free some space and run again: the one before stands"
        ) from error
    ranks.wait()
    if ranks.is_first:
        stored = {"step": state.step, "processes": ranks.world, "configuration": configuration}
        write_whole(target / COMPLETE, json.dumps(stored, indent=1).encode())
        keep = set(complete_states(folder)[-NUM_KEPT:])
        for other in target.parent.iterdir():
            if other not in keep:
                shutil.rmtree(other, ignore_errors=True)
    ranks.wait()


def complete_states(folder: Path) -> list[Path]:
    """Return the states in a run's folder that were written whole, the latest last."""
    return sorted(path.parent for path in (folder / FOLDER).glob(f"step-*/{COMPLETE}"))


def step_of(saved: Path) -> int:
    """Return the step that a complete state is of."""
    return int(read_json(saved / COMPLETE)["step"])


@torch.no_grad()
def load_sharded(state: TrainingState, saved: Path, configuration: dict[str, Any], ranks: Ranks) -> None:
    """Take over a complete state, in place, whatever number of processes wrote it.

    Raises:
        CheckpointError: It is damaged, or of another configuration.
    """
    stored = read_json(saved / COMPLETE)
    check_configuration(saved, stored["configuration"], configuration)
    for parameter in state.weights.values():
        remembered = state.optimizer.state_of(parameter)
        for moment in MOMENTS:
            remembered[moment] = torch.zeros_like(parameter)
        remembered["step"] = torch.tensor(float(stored["step"]), device=parameter.device)
    try:
        dcp.load(_flat(state), storage_reader=HuggingFaceStorageReader(str(saved)), no_dist=ranks.world == 1)
    except (OSError, ValueError, KeyError, RuntimeError, dcp.CheckpointException) as error:
        raise CheckpointError(
            f"training state {saved}", got=str(error)[:300], cure="delete this folder to go on from the one before it"
        ) from error
    state.step = int(stored["step"])


def _flat(state: TrainingState) -> dict[str, Tensor]:
    """Return all tensors of a state under names of their own."""
    tensors = {}
    for name, parameter in state.weights.items():
        tensors[f"model.{name}"] = parameter.detach()
        tensors[f"ema.{name}"] = state.ema[name]
        remembered = state.optimizer.state_of(parameter)
        tensors |= {f"{moment}.{name}": remembered[moment] for moment in MOMENTS if moment in remembered}
    return tensors
