"""Tensors of one network on disk, known by their headers and read one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from foreact.errors import CheckpointError
from foreact.files import LFS_CURE, is_lfs_pointer
from foreact.shards.files import find_shards, list_some

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class StoredTensor:
    """What a header says of a tensor."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        """Of its values."""
        return prod(self.shape) * self.dtype.itemsize


class TensorFolder:
    """The tensors of one network in a folder. Opening reads headers only."""

    def __init__(self, what: str, stored: dict[str, StoredTensor]):
        """Take over what `open` found; use that."""
        self.what = what
        self._stored = stored

    @classmethod
    def open(cls, folder: Path, stem: str = "diffusion_pytorch_model", what: str = "transformer") -> "TensorFolder":
        """Return the tensors of `stem.safetensors`, or of the shards that `stem.safetensors.index.json` names.

        Args:
            folder: Where the files are.
            stem: How they begin; "model" in other libraries than diffusers.
            what: The network, for the messages.

        Raises:
            CheckpointError: A file is missing, truncated, a pickle, or at odds with the index.
        """
        stored: dict[str, StoredTensor] = {}
        for file, indexed in find_shards(folder, stem, what).items():
            held = _read_header(file, what)
            if indexed is not None:
                _check_index(file, set(held), indexed)
            stored |= held
        return cls(what, stored)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tensors, shard by shard."""
        return tuple(self._stored)

    @property
    def shards(self) -> tuple[Path, ...]:
        """The files, in order."""
        return tuple(dict.fromkeys(tensor.file for tensor in self._stored.values()))

    @property
    def num_bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.num_bytes for tensor in self._stored.values())

    @property
    def largest_shard_bytes(self) -> int:
        """Of the tensors of the largest file."""
        sizes = dict.fromkeys(self.shards, 0)
        for tensor in self._stored.values():
            sizes[tensor.file] += tensor.num_bytes
        return max(sizes.values(), default=0)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, without reading it."""
        return self._find(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Return the type of a tensor's values, without reading it."""
        return self._find(name).dtype

    def read(self, name: str) -> Tensor:
        """Return a tensor, in memory of its own.

        Raises:
            CheckpointError: There is none of that name, or the file has changed since it was opened.
        """
        file = self._find(name).file
        try:
            # Opened anew for each tensor: a mapped file keeps every page that was ever read.
            with safe_open(file, framework="pt") as opened:
                return opened.get_tensor(name).clone()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"tensor {name} of the {self.what} in {file}", got=str(error), cure="the file has changed: try again"
            ) from error

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor with its name, shard by shard; one is in memory at a time, unless the caller keeps it."""
        for name in self._stored:
            yield name, self.read(name)

    def _find(self, name: str) -> StoredTensor:
        if name not in self._stored:
            raise CheckpointError(f"tensor of the {self.what}", got=repr(name), allowed=list_some(self._stored))
        return self._stored[name]


def _read_header(file: Path, what: str) -> dict[str, StoredTensor]:
    if is_lfs_pointer(file):
        raise CheckpointError(f"weights of the {what}", got=f"{file}: a git-lfs pointer", cure=LFS_CURE)
    try:
        with safe_open(file, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            kinds = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"weights of the {what}",
            got=f"{file}: {error}",
            allowed="a whole safetensors file",
            cure="fetch it again: it is truncated or foreign",
        ) from error
    unknown = sorted({kind for _, kind in kinds.values()} - set(DTYPES))
    if unknown:
        raise CheckpointError(f"type of tensors in {file}", got=", ".join(unknown), allowed=", ".join(DTYPES))
    return {name: StoredTensor(file, shape, DTYPES[kind]) for name, (shape, kind) in kinds.items()}


def _check_index(file: Path, held: set[str], indexed: set[str]) -> None:
    cure = "fetch the folder again: index and shards are of different checkpoints"
    if indexed - held:
        raise CheckpointError(f"shard {file}", got=f"it lacks {list_some(indexed - held)}", cure=cure)
    if held - indexed:
        raise CheckpointError(f"shard {file}", got=f"the index does not list {list_some(held - indexed)}", cure=cure)
