"""Tensors written one by one into shards; no more than one shard is ever in memory."""

import json
import os
from pathlib import Path
from types import TracebackType

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from foreact.errors import CheckpointError, ConfigurationError
from foreact.files import write_whole
from foreact.shards.names import index_file, shard_file, shard_pattern, single_file


class ShardWriter:
    """Writes a network that diffusers and transformers can read: one file if that is enough, else shards and an index.

    Files get their names on `close`, and what stood there before goes. Until then, and after any exception inside the
    `with` block, the folder is as it was.
    """

    def __init__(self, folder: Path, stem: str, max_shard_bytes: int, metadata: dict[str, str] | None = None):
        """Begin; the folder is made if missing.

        Args:
            folder: Where the files shall stand.
            stem: How their names begin.
            max_shard_bytes: Size of a file; a tensor that is larger gets a file of its own.
            metadata: Kept in each file's header.

        Raises:
            ConfigurationError: `max_shard_bytes` is not positive.
        """
        if max_shard_bytes < 1:
            raise ConfigurationError("bytes per shard", got=max_shard_bytes, allowed="1 or more")
        self._folder, self._stem, self._max_bytes = folder, stem, max_shard_bytes
        self._metadata = {"format": "pt", **(metadata or {})}
        self._made_folder = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self._pending: dict[str, Tensor] = {}
        self._pending_bytes = 0
        self._written: list[Path] = []
        self._place: dict[str, int] = {}
        self._num_bytes = 0
        self._closed = False

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._discard()

    def add(self, name: str, tensor: Tensor) -> None:
        """Take a copy of a tensor; writes a shard whenever one is full.

        Raises:
            CheckpointError: The name was there already, or the disk is full.
        """
        if name in self._place:
            raise CheckpointError(f"tensor {name} to be written to {self._folder}", got="two of that name")
        size = tensor.numel() * tensor.element_size()
        if self._pending and self._pending_bytes + size > self._max_bytes:
            self._flush()
        # A copy: the caller may go on to use its own, and two views of one storage cannot be saved.
        self._pending[name] = tensor.detach().to("cpu", copy=True).contiguous()
        self._place[name] = len(self._written)
        self._pending_bytes += size
        self._num_bytes += size

    def close(self) -> None:
        """Write what is left and give every file its name; a second time does nothing.

        Raises:
            CheckpointError: The disk is full, or a file could not be replaced.
        """
        if self._closed:
            return
        self._flush()
        total = len(self._written)
        names = [single_file(self._stem)] if total == 1 else self._shard_names(total)
        try:
            stale = self._existing()
            # Without an index no reader can take a mixture of old and new shards for a network.
            (self._folder / index_file(self._stem)).unlink(missing_ok=True)
            for temporary, name in zip(self._written, names, strict=True):
                temporary.replace(self._folder / name)
            for path in stale - {self._folder / name for name in names}:
                path.unlink(missing_ok=True)
            if total > 1:
                write_whole(self._folder / index_file(self._stem), self._index(names))
        except OSError as error:
            raise self._failure(error) from error
        self._written, self._made_folder, self._closed = [], False, True

    def _shard_names(self, total: int) -> list[str]:
        return [shard_file(self._stem, number, total) for number in range(1, total + 1)]

    def _existing(self) -> set[Path]:
        return {self._folder / single_file(self._stem), *self._folder.glob(shard_pattern(self._stem))}

    def _index(self, names: list[str]) -> bytes:
        index = {
            "metadata": {"total_size": self._num_bytes},
            "weight_map": {name: names[place] for name, place in sorted(self._place.items())},
        }
        return (json.dumps(index, indent=2) + "\n").encode()

    def _flush(self) -> None:
        temporary = self._folder / f".{self._stem}-{os.getpid()}-{len(self._written):05d}.tmp"
        try:
            write_whole(temporary, lambda path: save_file(self._pending, path, metadata=self._metadata))
        except (OSError, SafetensorError) as error:
            raise self._failure(error) from error
        self._written.append(temporary)
        self._pending, self._pending_bytes = {}, 0

    def _failure(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"writing weights to {self._folder}", got=str(error), cure="free some space, or choose another folder"
        )

    def _discard(self) -> None:
        for temporary in self._written:
            temporary.unlink(missing_ok=True)
        if self._made_folder and not any(self._folder.iterdir()):
            self._folder.rmdir()
        self._written, self._pending = [], {}
