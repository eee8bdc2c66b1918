"""Compiled paths: what a layer does before and after joint attention, compiled once for all layers of a stream.

Joint attention stays as it is: the history that it reads grows until the window is full, while everything else has the
same shapes in every step from the first chunk on. So each region is compiled for a handful of shapes, and thirty layers
share it. On CUDA each shape becomes a CUDA graph: one launch instead of dozens. On a CPU nothing is gained.
"""

import inspect
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from foreact.errors import ConfigurationError
from foreact.transformer.block import StreamBlock, TextKeys
from foreact.transformer.model import StreamEnds, TextContext, WorldActionModel

REGIONS: dict[type[nn.Module], tuple[str, ...]] = {
    StreamBlock: ("modulation", "project", "update"),
    StreamEnds: ("enter", "time", "leave"),
}
"""Methods that are compiled, by the class whose instances share them."""
TEXT_MULTIPLE = 64
"""Instructions' keys are padded to a multiple of so many hidden ones: their number, too, must not vary."""
MAX_SHAPES = 64
"""A region's shapes: both streams, one or two rows, one frame or a chunk, and each number of sessions in a batch."""


def compile_layers(model: WorldActionModel) -> None:
    """Compile a network in place, for inference; shapes are compiled when they first come by.

    On CUDA let all calls come from one thread: every thread records CUDA graphs of its own.

    Raises:
        ConfigurationError: Layers are kept on the CPU and brought to the device one by one.
    """
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        cure = "keep all layers on the device, or do not compile"
        raise ConfigurationError("compiling the network", got="its layers are offloaded", cure=cure)
    on_cuda = next(model.parameters()).is_cuda
    for kind, names in REGIONS.items():
        modules = [module for module in model.modules() if isinstance(module, kind)]
        for name in names:
            region = _compiled(getattr(kind, name), mode="reduce-overhead" if on_cuda else "default")
            for module in modules:
                setattr(module, name, MethodType(region, module))
    model.read_text = MethodType(_read_padded_text, model)
    if on_cuda:
        _begin_anew_with_every_pass(model)


def _compiled(function: Any, *, mode: str) -> Any:
    settings: dict[str, Any] = {}
    if "recompile_limit" in inspect.signature(torch.compile).parameters:
        settings["recompile_limit"] = MAX_SHAPES
    else:  # an older torch knows one limit for everything that is compiled
        torch._dynamo.config.recompile_limit = MAX_SHAPES
    return torch.compile(function, fullgraph=True, dynamic=False, mode=mode, **settings)


def _read_padded_text(model: WorldActionModel, tokens: torch.Tensor, lengths: torch.Tensor) -> TextContext:
    """Return what the network reads, padded."""
    text = WorldActionModel.read_text(model, tokens, lengths)
    video = [padded(keys) for keys in text.video]
    return TextContext(video, video if text.action is text.video else [padded(keys) for keys in text.action])


def padded(text: TextKeys) -> TextKeys:
    """Return an instruction with hidden keys up to a multiple of `TEXT_MULTIPLE`."""
    more = -text.keys.shape[2] % TEXT_MULTIPLE
    keys, values = (F.pad(x, (0, 0, 0, more)) for x in (text.keys, text.values))
    return TextKeys(keys, values, F.pad(text.bias, (0, more), value=float("-inf")))


def _begin_anew_with_every_pass(model: WorldActionModel) -> None:
    """Tell CUDA graphs that what a pass made may be overwritten by the next one, save the velocities it returned."""
    model.register_forward_pre_hook(lambda *_: torch.compiler.cudagraph_mark_step_begin())
    model.register_forward_hook(lambda _, __, made: tuple(x if x is None else x.clone() for x in made))
