"""A training run on disk: everything needed to go on exactly where it stopped.

One safetensors file holds weights, their moving average and the optimiser's moments; its header holds the step and the
configuration. No random state is stored: every draw is a function of (seed, step).
"""

import copy
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from foreact.errors import CheckpointError
from foreact.files import write_whole
from foreact.training.optimization import Optimizers
from foreact.training.sharding import put, whole

MOMENTS = ("exp_avg", "exp_avg_sq", "momentum_buffer")
"""What AdamW (the first two) and Muon remember of a weight."""


class TrainingState:
    """Weights, moving average, optimiser and the number of steps done."""

    def __init__(self, model: nn.Module, optimizer: Optimizers, *, average_on_cpu: bool = False):
        """Begin at step 0 with the average equal to the weights.

        Args:
            model: Learns, in place.
            optimizer: Moves its weights.
            average_on_cpu: Keep the average in the memory of the CPU.
        """
        self.model = model
        self.optimizer = optimizer
        self.step = 0
        self.weights = {
            name: value
            for name, value in model.state_dict(keep_vars=True).items()
            if isinstance(value, nn.Parameter) and value.requires_grad
        }
        """Those that are trained, by the names that they are stored under."""
        self.ema = {
            name: (value.detach().cpu() if average_on_cpu else value.detach()).clone()
            for name, value in self.weights.items()
        }

    def averaged_weights(self, *, keep: bool = True) -> dict[str, Tensor]:
        """Return the moving average as whole tensors on the CPU, gathered one by one from all processes.

        Args:
            keep: False: take part in the gathering, and return nothing.
        """
        gathered = ((name, whole(value)) for name, value in self.ema.items())
        return {name: value.detach().cpu().clone() for name, value in gathered if keep}

    def averaged_model(self) -> nn.Module:
        """Return a network whose weights are the moving average's own tensors: it follows every step."""
        model = copy.deepcopy(self.model).requires_grad_(False).eval()
        for name, value in model.state_dict(keep_vars=True).items():
            if name in self.ema:
                value.data = self.ema[name]
        return model

    def save(self, path: Path, configuration: dict) -> None:
        """Write the state whole; a full disk leaves the previous one.

        Raises:
            CheckpointError: It could not be written.
        """
        tensors = {f"model.{name}": value.detach().cpu() for name, value in self.weights.items()}
        tensors |= {f"ema.{name}": value.cpu() for name, value in self.ema.items()}
        for name, parameter in self.weights.items():
            remembered = self.optimizer.state_of(parameter)
            tensors |= {f"{moment}.{name}": remembered[moment].cpu() for moment in MOMENTS if moment in remembered}
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
                check_configuration(path, json.loads(header["configuration"]), configuration)
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
        for name, parameter in self.weights.items():
            put(parameter, tensors[f"model.{name}"])
            put(self.ema[name], tensors[f"ema.{name}"])
            self._load_moments(parameter, name, tensors)

    def _check_shapes(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.weights.items():
            for kind in ("model", "ema"):
                if tensors[f"{kind}.{name}"].shape != parameter.shape:
                    raise ValueError(f"{kind}.{name} has shape {tuple(tensors[f'{kind}.{name}'].shape)}")

    def _load_moments(self, parameter: nn.Parameter, name: str, tensors: dict[str, Tensor]) -> None:
        saved = {moment: tensors.get(f"{moment}.{name}") for moment in MOMENTS}
        remembered = self.optimizer.state_of(parameter)
        for moment, value in saved.items():
            if value is not None:
                remembered[moment] = torch.zeros_like(parameter)
                put(remembered[moment], value)
        if saved["exp_avg"] is not None:
            remembered["step"] = torch.tensor(float(self.step), device=parameter.device)  # where fused AdamW wants it


def check_configuration(path: Path, saved: dict, wanted: dict) -> None:
    """Refuse to go on with a state of other settings.

    Raises:
        CheckpointError: They differ; every setting that does is named.
    """
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
