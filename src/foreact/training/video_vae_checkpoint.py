"""A video VAE half trained: weights and optimiser in one safetensors file, written whole or not at all."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from foreact.errors import CheckpointError
from foreact.files import write_whole
from foreact.training.video_vae_config import VideoVAETrainingConfig

CHECKPOINT_FILE = "training.safetensors"


def save_checkpoint(
    folder: Path, step: int, config: VideoVAETrainingConfig, network: nn.Module, optimizer: Optimizer
) -> None:
    """Write what a run needs to go on after `step` steps; a failure leaves the checkpoint before."""
    tensors = {f"weights.{name}": value for name, value in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    folder.mkdir(parents=True, exist_ok=True)
    header = {"step": str(step), "config": _as_json(config)}
    write_whole(folder / CHECKPOINT_FILE, lambda path: save_file(tensors, path, metadata=header))


def restore_checkpoint(folder: Path, config: VideoVAETrainingConfig, network: nn.Module, optimizer: Optimizer) -> int:
    """Load weights and optimiser in place and return the number of steps done; 0 where nothing was saved.

    Raises:
        CheckpointError: The file is damaged, or a run of another configuration wrote it.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint {path}", got=str(error), cure="delete it to begin anew") from error
    if metadata.get("config") != _as_json(config):
        raise CheckpointError(
            f"checkpoint {path}",
            got=_differences(metadata.get("config"), config),
            allowed="the configuration of this run",
            cure="give that configuration, or another output folder",
        )
    network.load_state_dict(_below("weights.", tensors))
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in _below("optimizer.", tensors).items():
        index, field = name.split(".", 1)
        states.setdefault(int(index), {})[field] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": states})
    return int(metadata["step"])


def _as_json(config: VideoVAETrainingConfig) -> str:
    return json.dumps(asdict(config), sort_keys=True)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _differences(stored: str | None, config: VideoVAETrainingConfig) -> str:
    there, here = json.loads(stored or "{}"), json.loads(_as_json(config))
    return ", ".join(f"{name} = {there.get(name)}" for name in here if there.get(name) != here[name])
