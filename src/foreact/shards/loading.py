"""Tensors into a network, one at a time: its memory never doubles, and every tensor is accounted for."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foreact.errors import CheckpointError
from foreact.shards.files import list_some
from foreact.shards.reading import TensorFolder

_MOST_ENTRIES = 256
"""Of a list in the settings of a network."""


def load_strictly(
    module: nn.Module,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    what: str,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> None:
    """Fill a network in place, tensor by tensor; it may have been built on the meta device.

    Its parameters are replaced, so make optimisers afterwards. Tied weights may come under any one of their names.
    After an error the network is half filled.

    Args:
        module: What to fill.
        tensors: Names as in `module.state_dict()`, and values.
        what: The network and where its tensors come from, for the messages.
        dtype: What real-valued tensors are converted to; by default they stay as they come.
        device: Where they shall be; by default where `module` is.

    Raises:
        CheckpointError: A tensor is missing, unknown, given twice, or of another shape.
    """
    known = module.state_dict(keep_vars=True)
    tied: dict[int, list[str]] = {}
    for name, value in known.items():
        tied.setdefault(id(value), []).append(name)
    first = {name: names[0] for names in tied.values() for name in names}
    given: dict[str, tuple[int, ...]] = {}
    for name, tensor in tensors:
        place = first.get(name, name)
        if place in given:
            raise CheckpointError(what, got=f"tensor {name} twice", allowed="once")
        given[place] = tuple(tensor.shape)
        if name in known and tensor.shape == known[name].shape:
            _replace(module, tied[id(known[name])], tensor, dtype, device)
    check_tensors(given, {names[0]: tuple(known[names[0]].shape) for names in tied.values()}, what)


def check_tensors(given: Mapping[str, tuple[int, ...]], allowed: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Compare the tensors that came with those that are to come, by name and shape.

    Raises:
        CheckpointError: They are not the same; the first few that are missing, unknown or of another shape are named.
    """
    misshaped = [
        f"{name} {list(given[name])} where {list(allowed[name])} is allowed"
        for name in allowed
        if name in given and given[name] != allowed[name]
    ]
    problems = {"missing": set(allowed) - set(given), "unknown": set(given) - set(allowed), "wrong shape": misshaped}
    found = [f"{kind}: {list_some(names)}" for kind, names in problems.items() if names]
    if found:
        cure = "the weights and the settings are of different networks, or some weights were lost"
        raise CheckpointError(what, got="; ".join(found), allowed=f"exactly {len(allowed)} tensors", cure=cure)


def _replace(
    module: nn.Module, names: list[str], tensor: Tensor, dtype: torch.dtype | None, device: torch.device | str | None
) -> None:
    owner, leaf = _owner(module, names[0])
    old = getattr(owner, leaf)
    if device is None and not old.is_meta:
        device = old.device
    new = tensor.detach().to(device=device, dtype=dtype if tensor.is_floating_point() else None)
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    for name in names:
        owner, leaf = _owner(module, name)
        setattr(owner, leaf, new)


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return module.get_submodule(path), leaf


def check_sizes(settings: Mapping[str, Any], stored: TensorFolder, depth: str, what: str) -> None:
    """Refuse settings of a network that is larger than its files, before any of it is built.

    Args:
        settings: Its sizes, among others.
        stored: Its tensors.
        depth: Name of the setting that counts its layers: there are no more of them than tensors.
        what: The settings, for the message.

    Raises:
        CheckpointError: A number is greater than that of all numbers in the files, or a list is longer than any.
    """
    most = sum(math.prod(stored.shape(name)) for name in stored.names)
    for name, value in settings.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        if len(numbers) > _MOST_ENTRIES:
            raise CheckpointError(what, got=f"{name} of {len(numbers)} entries", allowed=f"up to {_MOST_ENTRIES}")
        allowed = len(stored.names) if name == depth else most
        for number in numbers:
            if isinstance(number, int | float) and abs(number) > allowed:
                got = f"{name} {number:g}" if isinstance(number, float) else f"{name} {str(number)[:40]}"
                raise CheckpointError(what, got=got, allowed=f"up to {allowed}: the files hold no more")
