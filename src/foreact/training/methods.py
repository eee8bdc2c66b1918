"""What of a network is trained: all of it, its action stream alone, or that and low-rank adapters next to the rest.

The action stream begins untrained where a network was made from a video model, so adapters alone would be wrong for it:
`lora` trains it in full, and puts adapters next to all matrices of the video stream's layers, those of the feed-forward
among them. Frozen weights have no gradient, no moments and no average. Policies are saved with the adapters merged in,
tensor by tensor, so that nothing about them has to be known where they are used.

Source: Hu et al., LoRA (arXiv 2106.09685); the adapters are peft's.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from foreact.errors import ConfigurationError
from foreact.training.sharding import put, whole
from foreact.training.state import TrainingState
from foreact.transformer.model import WorldActionModel, stored_name

Method = Literal["full", "lora", "action"]
MATRICES = r"layers\.\d+\.video\.((joint|text)\.(to_q|to_k|to_v|to_out)|ffn_in|ffn_out)"
"""Names of the modules that get adapters."""
_BASE, _ADAPTER = ".base_layer.", re.compile(r"\.lora_(A|B)\.default\.weight$")
"""What peft calls an adapted matrix, and the two factors next to it."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Low-rank adapters: next to a matrix W stands alpha / rank * B A, of which B begins at zero."""

    rank: int = 16
    """Rows of A, columns of B."""
    alpha: int = 16
    """What the product is multiplied with, times the rank."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise ConfigurationError("adapters' rank and alpha", got=(self.rank, self.alpha), allowed="1 or more")


def check_method(method: Method, model_is_shared: bool, *, begins_with_weights: bool) -> None:
    """Refuse what cannot be, before anything is read.

    Raises:
        ConfigurationError: Nothing would be trained, or what is frozen would be noise.
    """
    if method == "action" and model_is_shared:
        got = "a shared backbone, whose actions have no layers of their own"
        raise ConfigurationError("method 'action'", got=got, allowed="lora, full")
    if method != "full" and not begins_with_weights:
        raise ConfigurationError(
            f"method {method!r}",
            got="no weights to begin with",
            cure="give them as --initial, or train with --method full",
        )


def freeze(model: WorldActionModel, method: Method, adapters: AdapterConfig) -> None:
    """Freeze what a method does not train, in place, and put adapters where it wants them; they hold nothing yet.

    Args:
        model: Not sharded yet; may be on the meta device.
        method: What is trained.
        adapters: Of `lora`.
    """
    if method == "full":
        return
    if method == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        settings = LoraConfig(r=adapters.rank, lora_alpha=adapters.alpha, target_modules=MATRICES, lora_dropout=0.0)
        with torch.random.fork_rng(devices=[]):  # peft draws; what it draws is replaced
            inject_adapter_in_model(settings, model)
    for name, parameter in model.named_parameters():
        is_adapter = _ADAPTER.search(name) is not None
        parameter.requires_grad_(is_adapter or stored_name(name).startswith("action."))


def store_frozen_in_bfloat16(model: WorldActionModel) -> None:
    """Keep the frozen matrices of the layers in bfloat16, in place, at half the memory.

    Under autocast to bfloat16 a matrix product rounds its weights to bfloat16 anyway, so not a bit of the result
    changes. Everything else (norms, modulation tables, clocks, heads) is used in float32 and stays float32.
    """
    for name, module in model.named_modules():
        # In a matrix with adapters the frozen one is called base_layer; the factors next to it are trained.
        if name.startswith("layers.") and isinstance(module, nn.Linear) and not module.weight.requires_grad:
            module.to(torch.bfloat16)


@torch.no_grad()
def reset_adapters(model: WorldActionModel, seed: int) -> None:
    """Begin the adapters, in place: A uniform within 1 / sqrt(columns), as peft has it, and B at zero.

    Args:
        model: With adapters or without; sharded or not.
        seed: Of the draws: a function of it and of a factor's place in the network.
    """
    for number, (name, parameter) in enumerate(model.named_parameters()):
        found = _ADAPTER.search(name)
        if found is None:
            continue
        factor = torch.zeros(parameter.shape)
        if found[1] == "A":
            bound = parameter.shape[1] ** -0.5
            factor.uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed * 1_000_003 + number))
        put(parameter, factor)


def base_weights(model: WorldActionModel) -> dict[str, Tensor]:
    """Return all weights but the adapters', under the names that they have without adapters."""
    weights = model.state_dict(keep_vars=True)
    return {name.replace(_BASE, "."): value for name, value in weights.items() if not _ADAPTER.search(name)}


def frozen_digest(model: WorldActionModel) -> str:
    """Return a short name of all weights that are frozen: what was trained next to them fits no others."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(base_weights(model).items()):
        if not value.requires_grad:
            digest.update(name.encode())
            digest.update(whole(value).detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def merged_weights(state: TrainingState, adapters: AdapterConfig, *, keep: bool = True) -> dict[str, Tensor]:
    """Return the averaged weights of the whole network on the CPU, adapters merged in, one matrix after the other.

    All come back in float32, frozen ones too that are kept in bfloat16: a merged matrix would lose what was learned.

    Args:
        state: Of a training by any method; where it is sharded, all processes have to ask.
        adapters: For what their products are multiplied with.
        keep: False: take part in the gathering, and return nothing.
    """
    weights = state.averaged_weights(keep=keep)
    for name, value in state.model.state_dict().items():
        if name not in weights and name not in state.weights:
            gathered = whole(value)
            if keep:
                weights[name] = gathered.cpu().float().clone()
    merged = {}
    for name, value in weights.items():
        if _ADAPTER.search(name):
            continue
        if name.endswith(f"{_BASE}weight"):
            owner = name.removesuffix(f"{_BASE}weight")
            a, b = (weights[f"{owner}.lora_{factor}.default.weight"] for factor in "AB")
            value = value + adapters.alpha / adapters.rank * (b @ a)
        merged[name.replace(_BASE, ".")] = value
    return merged
