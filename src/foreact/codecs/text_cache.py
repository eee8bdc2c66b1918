"""Instruction embeddings kept on disk, so that a text encoder of many gigabytes is loaded for new words only.

`FOLDER/KEY-INSTRUCTION.safetensors` holds one instruction's own tokens; KEY names the encoder's weights, so embeddings
of another encoder are never mistaken for these.
"""

import gc
import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import pad

from foreact.codecs.text import TextEmbedding, TextEncoder
from foreact.errors import CheckpointError, ConfigurationError
from foreact.files import write_whole

_ENDS = 64 * 1024
"""Bytes of a file's head and of its tail that go into a key."""
_WRITING = threading.Lock()
"""Threads of a process share the name of the temporary file; processes do not."""


class CachedTextEncoder:
    """A text encoder that asks another one only for instructions it has not met before."""

    def __init__(self, make_encoder: Callable[[], TextEncoder], *, folder: Path, key: str, dim: int, keep: bool):
        """Begin or continue a cache; neither reads nor loads anything yet.

        Args:
            make_encoder: Loads the encoder.
            folder: Of the files; made if missing.
            key: Names the encoder's weights; see `encoder_key`.
            dim: Width of a token of the encoder.
            keep: Whether the encoder stays in memory once it was needed; otherwise it is let go after each use.
        """
        self._make_encoder, self._folder, self._key, self._dim, self._keep = make_encoder, folder, key, dim, keep
        self._encoder: TextEncoder | None = None
        self._lock = threading.Lock()

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self._dim

    @torch.no_grad()
    def encode(self, instructions: list[str]) -> TextEmbedding:
        """Tokens [batch, length, dim] on the CPU, as the encoder itself would have made them.

        Instructions are encoded one by one, so that their numbers do not depend on their company. Embeddings that
        cannot be written are used nevertheless, with a warning.

        Raises:
            ConfigurationError: The encoder has another width.
        """
        with self._lock:
            rows = [self._read(instruction) or self._encode_and_write(instruction) for instruction in instructions]
            if not self._keep:
                self._release()
        longest = max((padded for _, padded in rows), default=0)
        tokens = [pad(own, (0, 0, 0, longest - len(own))) for own, _ in rows]
        lengths = torch.tensor([len(own) for own, _ in rows], dtype=torch.int64)
        return TextEmbedding(torch.stack(tokens) if tokens else torch.zeros(0, 0, self._dim), lengths)

    def path(self, instruction: str) -> Path:
        """The file of one instruction."""
        digest = hashlib.blake2b(f"{self._key}\0{instruction}".encode(), digest_size=16).hexdigest()
        return self._folder / f"{self._key}-{digest}.safetensors"

    def _read(self, instruction: str) -> tuple[Tensor, int] | None:
        """An instruction's own tokens and their number with padding; None if they are not there, or not whole."""
        try:
            with safe_open(self.path(instruction), framework="pt") as file:
                details, tokens = file.metadata() or {}, file.get_tensor("tokens")
            whole = details["instruction"] == instruction and details["digest"] == _digest(tokens)
            padded = int(details["padded_length"])
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        fits = tokens.ndim == 2 and tokens.shape[1] == self._dim and len(tokens) <= padded
        return (tokens, padded) if whole and fits else None

    def _encode_and_write(self, instruction: str) -> tuple[Tensor, int]:
        if self._encoder is None:
            self._encoder = self._make_encoder()
        if self._encoder.dim != self._dim:
            raise ConfigurationError("width of the text encoder", got=self._encoder.dim, allowed=self._dim)
        embedding = self._encoder.encode([instruction])
        padded = embedding.tokens.shape[1]
        tokens = embedding.tokens[0, : int(embedding.lengths[0])].cpu().contiguous()
        details = {"instruction": instruction, "padded_length": str(padded), "digest": _digest(tokens)}
        try:
            with _WRITING:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_whole(self.path(instruction), save({"tokens": tokens}, details))
        except OSError as error:
            warnings.warn(f"instructions cannot be kept in {self._folder} ({error}): used unkept", stacklevel=3)
        return tokens, padded

    def _release(self) -> None:
        if self._encoder is None:
            return
        self._encoder = None
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def encoder_key(*folders: Path, settings: str = "") -> str:
    """A short name for what is stored in some folders, from names, sizes, and both ends of each file.

    Gigabytes are not read; weights that differ in the middle alone share a name, which training does not make.

    Args:
        folders: Of the encoder and of its tokenizer.
        settings: What else its numbers depend on, for example their precision.

    Raises:
        CheckpointError: A folder is missing, or a file cannot be read.
    """
    digest = hashlib.blake2b(settings.encode(), digest_size=8)
    try:
        for path in _files(folders):
            size = path.stat().st_size
            digest.update(f"\0{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                digest.update(file.read(_ENDS))
                file.seek(max(size - _ENDS, 0))
                digest.update(file.read(_ENDS))
    except OSError as error:
        raise CheckpointError("text encoder", got=str(error), cure="fetch the whole folder") from error
    return digest.hexdigest()


def user_cache() -> Path:
    """Where instructions are kept unless another folder is named."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "foreact" / "instructions"


def _files(folders: tuple[Path, ...]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _digest(tokens: Tensor) -> str:
    return hashlib.blake2b(tokens.numpy().tobytes(), digest_size=8).hexdigest()
