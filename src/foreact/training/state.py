"""A training run on disk: everything needed to go on exactly where it stopped.

One safetensors file holds weights, their moving average and the optimiser's moments; its header holds the step and the
configuration. No random state is stored: every draw is a function of (seed, step).
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from foreact.errors import CheckpointError
from foreact.files import write_whole

MOMENTS = ("exp_avg", "exp_avg_sq")


class TrainingState:
    """Weights, moving average, optimiser and the number of steps done."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer):
        """Begin at step 0 with the average equal to the weights."""
        self.model = model
        self.optimizer = optimizer
        self.step = 0
        self.ema = {name: value.detach().clone() for name, value in model.named_parameters()}

    def save(self, path: Path, configuration: dict) -> None:
        """Write the state whole; a full disk leaves the previous one.

        Raises:
            CheckpointError: It could not be written.
        """
        tensors = {f"model.{name}": value.detach().cpu() for name, value in self.model.named_parameters()}
        tensors |= {f"ema.{name}": value.cpu() for name, value in self.ema.items()}
        for name, parameter in self.model.named_parameters():
            for moment in MOMENTS:
                if moment in self.optimizer.state[parameter]:
                    tensors[f"{moment}.{name}"] = self.optimizer.state[parameter][moment].cpu()
        header = {"step": str(self.step), "configuration": json.dumps(configuration, sort_keys=True)}
        contiguous = {name: value.contiguous() for name, value in tensors.items()}
        try:
            write_whole(path, lambda target: save_file(contiguous, target, metadata=header))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"writing {path}",
                got=str(error),
                cure="free some space and run again: the previous checkpoint stands",
            ) from error

    @torch.no_grad()
    def load(self, path: Path, configuration: dict) -> None:
        """Take over a saved state, in place.

        Raises:
            CheckpointError: The file is truncated or foreign, or of another configuration.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                _check_configuration(path, json.loads(header["configuration"]), configuration)
                step = int(header["step"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            self._check_shapes(tensors)
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise CheckpointError(
                f"training state {path}",
                got=str(error),
                cure="delete it to begin anew: it is truncated or foreign",
            ) from error
        self.step = step
        for name, parameter in self.model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            self.ema[name].copy_(tensors[f"ema.{name}"])
            self._load_moments(parameter, name, tensors)

    def _check_shapes(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            for kind in ("model", "ema"):
                if tensors[f"{kind}.{name}"].shape != parameter.shape:
                    raise ValueError(f"{kind}.{name} has shape {tuple(tensors[f'{kind}.{name}'].shape)}")

    def _load_moments(self, parameter: nn.Parameter, name: str, tensors: dict[str, Tensor]) -> None:
        if f"{MOMENTS[0]}.{name}" not in tensors:
            return
        moments = {moment: tensors[f"{moment}.{name}"].to(parameter.device) for moment in MOMENTS}
        self.optimizer.state[parameter] = {
            "step": torch.tensor(float(self.step), device=parameter.device),  # where the fused optimiser wants it
            **moments,
        }


def _check_configuration(path: Path, saved: dict, wanted: dict) -> None:
    differing = sorted(_differences(saved, wanted))
    if differing:
        raise CheckpointError(
            f"training state {path} is of another configuration",
            got="; ".join(differing),
            cure="train into another folder, or repeat the settings it began with",
        )


def _differences(saved, wanted, prefix: str = ""):
    """Yield "name: saved, not wanted" for every leaf that differs between two nested dictionaries."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for key in saved.keys() | wanted.keys():
            yield from _differences(saved.get(key), wanted.get(key), f"{prefix}.{key}" if prefix else key)
    elif saved != wanted:
        yield f"{prefix}: {saved!r} there, {wanted!r} asked for"
