"""What a new network's tensors are made of, when its weights come from Wan2.2 or from a published shared backbone.

Planned from names and shapes alone, so that every objection comes before the first tensor is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from foreact.errors import CheckpointError
from foreact.shards import TensorFolder
from foreact.transformer.initialization import fresh_weight, is_inherited, resize_weight
from foreact.transformer.model import TransformerConfig
from foreact.transformer.source_fit import Shape, SourceLayout, check_fit, network_shapes
from foreact.transformer.weight_names import Named, from_published, from_wan, layout_of


@dataclass(frozen=True)
class Derivation:
    """Which tensor of the source each tensor of the new network is made from."""

    source: TensorFolder
    layout: SourceLayout
    shapes: dict[str, Shape]
    """Of the new network's tensors."""
    makes: dict[str, tuple[str, ...]]
    """Names of the new network's tensors, per tensor of the source as we call it."""
    fresh: tuple[str, ...]
    """Names of those that the source has nothing for."""

    def tensors(self, *, seed: int) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor of the new network, as the source is read: one at a time, and what is made from it.

        Args:
            seed: Of the tensors that are drawn.
        """
        for theirs, tensor in self.source.items():
            for ours, value in _rename(self.layout, theirs, tensor):
                for name in self.makes.get(ours, ()):
                    yield name, resize_weight(value, self.shapes[name])
        for name in self.fresh:
            yield name, fresh_weight(name, self.shapes[name], seed=seed)


def plan_derivation(source: TensorFolder, config: TransformerConfig) -> Derivation:
    """Return how the network that `config` describes is made from `source`.

    The video stream is the source's. An action stream of its own inherits the video stream's layers, shrunk to its
    width. From a published backbone, which has already learned actions, it takes the actions' clock and way out, and
    its way in if that is a single matrix there too.

    Raises:
        CheckpointError: The source is of no known layout, or of another size; the tensor or setting is named.
    """
    layout = layout_of(source.names)
    if layout == "foreact":
        raise CheckpointError(
            f"weights in {source.shards[0].parent}",
            got="a network of foreact's",
            allowed="Wan2.2's transformer or a published shared backbone, both in diffusers' layout",
        )
    given = {
        ours: tuple(value.shape)
        for name in source.names
        for ours, value in _rename(layout, name, torch.empty(source.shape(name), device="meta"))
    }
    check_fit(given, config, layout, source.shards[0].parent)
    shapes = network_shapes(config)
    origins = {name: _origin(name, given, config) for name in shapes}
    makes = {ours: tuple(name for name, origin in origins.items() if origin == ours) for ours in given}
    return Derivation(source, layout, shapes, makes, tuple(name for name, origin in origins.items() if origin is None))


def _rename(layout: SourceLayout, name: str, tensor: Tensor) -> Named:
    return from_wan(name, tensor) if layout == "wan" else from_published(name, tensor)


def _origin(name: str, given: dict[str, Shape], config: TransformerConfig) -> str | None:
    """Return the tensor of the source that one of the new network is made from."""
    own = name.removeprefix("action.")
    if name in given:
        enters_otherwise = own.startswith("embed.") and name != own and config.action_embedding == "mlp"
        return None if enters_otherwise else name
    return f"video.{own}" if is_inherited(own) else None
