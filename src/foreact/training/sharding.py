"""A network whose weights lie on several processes, a part on each (FSDP2), layer by layer.

The unit is a joint layer, both streams of it: its weights are gathered right before it runs, and let go after it. What
is outside of the layers is one more unit. No process ever holds more than its part and one layer, from the first moment
on: the network is built without memory, sharded, and then filled tensor by tensor.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from foreact.shards import check_tensors
from foreact.transformer.model import WorldActionModel


def shard_model(model: WorldActionModel, mesh: DeviceMesh, *, bfloat16: bool) -> WorldActionModel:
    """Shard a network in place; return it.

    Args:
        model: Best built on the meta device, and then given memory by `to_empty`, which makes room for its parts.
        mesh: Of processes: (shard), or (replicate, shard).
        bfloat16: Gather weights in bfloat16; gradients are summed in float32. Autocast stays needed: what enters a
            layer is not cast here, since flow times and rotary positions would lose too much (four times the error of
            gradients, measured).
    """
    settings: dict[str, Any] = {"mesh": mesh}
    if bfloat16:
        settings["mp_policy"] = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    for layer in model.layers:
        fully_shard(layer, **settings)
    fully_shard(model, **settings)
    return model


@torch.no_grad()
def fill(weights: dict[str, Tensor], tensors: Iterable[tuple[str, Tensor]], what: str) -> None:
    """Fill sharded weights in place from whole tensors, one at a time; each process keeps its part.

    Args:
        weights: Of a network, as `state_dict` names them.
        tensors: Names and whole values, the same on every process.
        what: The network and where the tensors come from, for the message.

    Raises:
        CheckpointError: A tensor is missing, unknown, or of another shape.
    """
    given = {}
    for name, tensor in tensors:
        given[name] = tuple(tensor.shape)
        if name in weights and weights[name].shape == tensor.shape:
            put(weights[name], tensor)
    check_tensors(given, {name: tuple(value.shape) for name, value in weights.items()}, what)


@torch.no_grad()
def put(weight: Tensor, whole: Tensor) -> None:
    """Fill one weight, sharded or not, from its whole value."""
    value = whole.to(weight.device, weight.dtype)
    if isinstance(weight, DTensor):
        # Every process has the whole value: each cuts out its own part, and nothing is sent.
        value = distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)
    weight.copy_(value)


def whole(value: Tensor) -> Tensor:
    """Return a tensor gathered from all processes, each of which has to ask for it; as it is if it is not sharded."""
    return value.full_tensor() if isinstance(value, DTensor) else value
