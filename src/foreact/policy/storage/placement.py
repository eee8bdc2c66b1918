"""Where a network's weights live and at what precision, and whether there is memory for that: asked before loading."""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import psutil
import torch
from torch import Tensor, nn

from foreact.errors import CheckpointError, ConfigurationError, install_command
from foreact.transformer.model import WorldActionModel

Precision = Literal["stored", "float32", "bfloat16"]
Quantization = Literal["none", "int8", "fp8"]
TextPlace = Literal["keep", "cpu", "release"]

GB = 1e9
QUANTIZED_BYTES = 1.01
"""Per number: one byte, and a scale per row."""
WORKING_SHARE = 0.1
"""Of the weights and the cache, for activations and what the allocator holds back."""
LAYERS_ON_DEVICE = 2
"""At once, when layers are offloaded: the one that computes and the one that arrives."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How a policy's networks are held in memory."""

    device: str = "cpu"
    """Where the networks compute: cpu, cuda, cuda:1 ..."""
    dtype: Precision = "stored"
    """Of weights and arithmetic; stored: as in the files."""
    quantize: Quantization = "none"
    """Hold the transformer's matrices in 8 bits, and multiply at `dtype`. For memory, not for accuracy."""
    text_encoder: TextPlace = "keep"
    """A large text encoder: keep it on the device, keep it on the CPU, or release it whenever an instruction has been
    embedded (embeddings are kept on disk, so it is loaded again only for words it has not seen)."""
    offload: bool = False
    """Keep the transformer's layers on the CPU and bring them to the device one by one: slow, and small."""

    def __post_init__(self) -> None:
        for name, allowed in (("dtype", Precision), ("quantize", Quantization), ("text_encoder", TextPlace)):
            if getattr(self, name) not in get_args(allowed):
                raise ConfigurationError(name, got=getattr(self, name), allowed=", ".join(get_args(allowed)))
        try:
            torch.device(self.device)
        except RuntimeError as error:
            raise ConfigurationError("device", got=self.device, allowed="cpu, cuda, cuda:0 ...") from error
        if self.offload and self.quantize != "none":
            raise ConfigurationError("offload with quantize", got=self.quantize, allowed="one of the two")
        if self.offload and self.on_cpu:
            raise ConfigurationError("offload", got=f"device {self.device}", allowed="a CUDA device")

    @property
    def on_cpu(self) -> bool:
        """Whether the networks compute on the CPU."""
        return torch.device(self.device).type == "cpu"

    @property
    def torch_dtype(self) -> torch.dtype | None:
        """The precision that weights are converted to; None leaves them."""
        return None if self.dtype == "stored" else getattr(torch, self.dtype)

    def __str__(self) -> str:
        """The settings as they are passed to `foreact.load`."""
        said = [f"dtype={self.dtype!r}"]
        said += [f"quantize={self.quantize!r}"] if self.quantize != "none" else []
        said += [f"text_encoder={self.text_encoder!r}"] if self.text_encoder != "keep" else []
        return ", ".join(said + (["offload=True"] if self.offload else []))


IN_MEMORY = Placement()
"""On the CPU, as stored."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """How many numbers there are to hold."""

    matrices: int
    """Of the transformer, in its layers' matrices."""
    others: int
    """Of the transformer, elsewhere."""
    num_layers: int
    vae: int
    text_encoder: int
    cache: int
    """Keys and values of one session."""
    stored_bytes: int
    """Per number in the files."""

    def device_bytes(self, placement: Placement) -> float:
        """Return the memory needed where the networks compute."""
        size = self._bytes(placement)
        matrices = self.matrices * (size if placement.quantize == "none" else QUANTIZED_BYTES)
        if placement.offload:
            matrices *= LAYERS_ON_DEVICE / self.num_layers
        with_text = placement.on_cpu or placement.text_encoder == "keep"
        rest = self.others + self.vae + self.cache + (self.text_encoder if with_text else 0)
        return (matrices + rest * size) * (1 + WORKING_SHARE)

    def host_bytes(self, placement: Placement) -> float:
        """Return the memory needed next to a CUDA device, in the machine's RAM."""
        if placement.on_cpu:
            return 0.0
        held = self.matrices if placement.offload else 0
        held += 0 if placement.text_encoder == "keep" else self.text_encoder
        return float(held * self._bytes(placement))

    def _bytes(self, placement: Placement) -> int:
        return self.stored_bytes if placement.dtype == "stored" else placement.torch_dtype.itemsize  # type: ignore[union-attr]


def check_memory(footprint: Footprint, placement: Placement, what: str) -> None:
    """Refuse a placement for which there is too little memory, naming one that would fit.

    Raises:
        CheckpointError: Too little; nothing has been loaded yet.
    """
    free, free_host = free_bytes(placement.device), free_bytes("cpu")

    def fits(candidate: Placement) -> bool:
        return footprint.device_bytes(candidate) <= free and footprint.host_bytes(candidate) <= free_host

    if fits(placement):
        return
    where, free_there, needed = placement.device, free, footprint.device_bytes(placement)
    if needed <= free:
        where, free_there, needed = "cpu", free_host, footprint.host_bytes(placement)
    smaller = next(filter(fits, _smaller(placement)), None)
    if smaller is None:
        least = min(_smaller(placement), key=footprint.device_bytes, default=placement)
        cure = f"no option fits; the smallest, {least}, needs {footprint.device_bytes(least) / GB:.1f} GB"
    else:
        cure = f"this would fit: foreact.load(..., {smaller}), {footprint.device_bytes(smaller) / GB:.1f} GB"
    raise CheckpointError(
        f"memory for {what} on {where}",
        got=f"{free_there / GB:.1f} GB free",
        allowed=f"{needed / GB:.1f} GB or more for {placement}",
        cure=cure,
    )


def free_bytes(device: str) -> float:
    """Return the memory free on a device, or in RAM within the limits that this process runs under.

    Raises:
        ConfigurationError: There is no such CUDA device here.
    """
    named = torch.device(device)
    if named.type == "cuda":
        count = torch.cuda.device_count()
        if (named.index or 0) >= count:
            here = ["cpu", *(f"cuda:{number}" for number in range(count))]
            raise ConfigurationError("device", got=device, allowed=", ".join(here))
        return float(torch.cuda.mem_get_info(named)[0])
    limit, used = (_read_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    free = float(psutil.virtual_memory().available)
    return free if limit is None or used is None else min(free, float(limit - used))


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no control groups here, or "max": no limit
        return None


def _smaller(placement: Placement) -> Iterator[Placement]:
    """Yield placements that need less, the least intrusive first."""
    dtypes: list[Precision] = [placement.dtype, "bfloat16"]
    texts: list[TextPlace] = ["keep", "release"] if placement.text_encoder == "keep" else [placement.text_encoder]
    plain = replace(placement, quantize="none", offload=False)
    memories = [plain, replace(plain, quantize="int8")] + ([] if placement.on_cpu else [replace(plain, offload=True)])
    for memory, text, dtype in itertools.product(memories, texts, dtypes):
        yield replace(memory, dtype=dtype, text_encoder=text)


def placed_when_whole(
    model: WorldActionModel, tensors: Iterable[tuple[str, Tensor]], placement: Placement
) -> Iterator[tuple[str, Tensor]]:
    """Pass on what fills a network that was built on the meta device; hold each layer in 8 bits once it is whole.

    So that never more than one layer is in memory at full precision. Nothing else is done to the network.

    Raises:
        ConfigurationError: The package `torchao` is needed and not installed.
    """
    names = {match.group() for name in model.state_dict() if (match := re.match(r"\w+\.blocks\.\d+", name))}
    waiting = {name: model.get_submodule(name) for name in names}
    for name, tensor in tensors:
        yield name, tensor
        of = ".".join(name.split(".")[:3])
        layer = waiting.get(of)
        if placement.quantize == "none" or layer is None:
            continue
        if not any(parameter.is_meta for parameter in layer.parameters()):
            quantize_layer(waiting.pop(of), placement.quantize, placement.device)


def place(model: WorldActionModel, placement: Placement) -> WorldActionModel:
    """Return the network where the placement says; it is changed in place.

    Raises:
        ConfigurationError: The package `accelerate` is needed and not installed.
    """
    if placement.offload:
        return offload_layers(model, placement.device)
    return model.to(placement.device)


def quantize_layer(layer: nn.Module, kind: Quantization, device: str = "cpu") -> None:
    """Hold a layer's matrices in 8 bits, on the device.

    What stands before and after the layers keeps its precision: it is little, and every token passes through it.

    Raises:
        ConfigurationError: The package `torchao` is needed and not installed.
    """
    try:
        from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        cure = install_command("memory")
        raise ConfigurationError(f"{kind} weights", got=str(error), cure=cure) from error
    config = Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig()
    quantize_(layer.to(device), config)


def offload_layers(model: WorldActionModel, device: str) -> WorldActionModel:
    """Keep the layers' matrices on the CPU; each visits the device while it computes.

    Raises:
        ConfigurationError: The package `accelerate` is needed and not installed.
    """
    try:
        from accelerate import cpu_offload
    except ImportError as error:
        raise ConfigurationError("offload", got=str(error), cure=install_command("memory")) from error
    matrices = [module for block in layers(model) for module in block.modules() if isinstance(module, nn.Linear)]
    at_home = {id(parameter) for matrix in matrices for parameter in matrix.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in at_home:
            parameter.data = parameter.data.to(device)
    for matrix in matrices:
        cpu_offload(matrix, execution_device=torch.device(device))
    return model


def layers(model: WorldActionModel) -> list[nn.Module]:
    """Return the blocks of all layers, each once."""
    return [block for layer in model.layers for block in layer.children()]
