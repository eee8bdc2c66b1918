"""Instructions as token embeddings: a weightless encoder for small policies, UMT5 for published ones."""

import hashlib
import html
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from foreact.errors import CheckpointError, ConfigurationError, install_command
from foreact.settings import read_json
from foreact.shards import TensorFolder, check_sizes

_MOST_NUMBERS = 2**24
"""Of an instruction, all its words together: a thousand times what any is."""


@dataclass(frozen=True)
class TextEmbedding:
    """A batch of instructions as tokens."""

    tokens: Float[Tensor, "batch length dim"]
    """float32, zeros after each instruction's own tokens."""
    lengths: Int[Tensor, " batch"]
    """How many tokens are the instruction's own."""


@runtime_checkable
class TextEncoder(Protocol):
    """Turns words into tokens; frozen."""

    @property
    def dim(self) -> int:
        """Width of a token."""
        ...

    def encode(self, instructions: list[str]) -> TextEmbedding:
        """One row per instruction; the empty instruction is the unconditional one of guidance."""
        ...


@dataclass(frozen=True, kw_only=True)
class HashedWordEncoder:
    """One fixed random unit vector per word plus a code for its place: no weights, no vocabulary, no file.

    A word's vector is drawn from a generator seeded with a hash of the word, so it is the same on every machine.
    Instructions that share words share tokens, and different instructions differ; of synonyms it knows nothing.
    """

    dim: int = 64
    """Width of a token; even."""
    max_length: int = 32
    """Tokens per instruction; words beyond it are cut off."""

    def __post_init__(self) -> None:
        if self.dim < 2 or self.dim % 2:
            raise ConfigurationError("dim of the word encoder", got=self.dim, allowed="a positive even number")
        if self.max_length < 1:
            raise ConfigurationError("max_length of the word encoder", got=self.max_length, allowed="at least 1")
        if self.max_length * self.dim > _MOST_NUMBERS:
            got, allowed = f"{self.max_length} words of {self.dim} numbers", f"up to {_MOST_NUMBERS} numbers"
            raise ConfigurationError("an instruction of the word encoder", got=got, allowed=allowed)

    def encode(self, instructions: list[str]) -> TextEmbedding:
        """Tokens [batch, max_length, dim]; an instruction without words has length 0 and only zeros."""
        tokens = np.zeros((len(instructions), self.max_length, self.dim), np.float32)
        lengths = np.zeros(len(instructions), np.int64)
        for row, instruction in enumerate(instructions):
            words = _words(instruction)[: self.max_length]
            lengths[row] = len(words)
            for place, word in enumerate(words):
                tokens[row, place] = _word_vector(word, self.dim) + _place_code(place, self.dim)
        return TextEmbedding(torch.from_numpy(tokens), torch.from_numpy(lengths))


class UMT5Encoder:
    """The frozen UMT5 encoder of the published weights, its prompts padded to a fixed length."""

    def __init__(self, network: Any, tokenizer: Any, length: int):
        """Wrap a `transformers.UMT5EncoderModel` and its tokenizer; prompts have `length` tokens."""
        self._network, self._tokenizer, self._length = network.eval(), tokenizer, length

    @classmethod
    def from_pretrained(
        cls,
        text_encoder_folder: Path | str,
        tokenizer_folder: Path | str,
        *,
        length: int = 512,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> "UMT5Encoder":
        """The encoder stored in two folders of transformers' layout.

        Args:
            text_encoder_folder: `config.json` and safetensors; pickles are refused.
            tokenizer_folder: `tokenizer.json` or `spiece.model`, and their configuration.
            length: Tokens per instruction, padding included; what is longer is cut off.
            dtype: Of weights and arithmetic; None: as stored.
            device: Where it computes.

        Raises:
            ConfigurationError: The package `transformers` is not installed.
            CheckpointError: A folder is missing or cannot be read, or its weights are pickles.
        """
        try:
            from transformers import AutoTokenizer, UMT5EncoderModel  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigurationError("the UMT5 text encoder", got=str(error), cure=install_command("umt5")) from error
        for folder in (text_encoder_folder, tokenizer_folder):
            if not Path(folder).is_dir():
                raise CheckpointError("UMT5 text encoder", got=f"no folder {folder}", allowed="transformers' layout")
        _refuse_pickles(Path(text_encoder_folder))
        _check_files(Path(text_encoder_folder), Path(tokenizer_folder))
        try:
            network: Any = UMT5EncoderModel.from_pretrained(
                text_encoder_folder, dtype=dtype or "auto", use_safetensors=True, local_files_only=True
            )
            tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
        except Exception as error:  # transformers raises whatever its readers raise
            raise CheckpointError(
                "UMT5 text encoder", got=f"{text_encoder_folder}, {tokenizer_folder}: {error}"
            ) from error
        return cls(network.to(device), tokenizer, length)

    @staticmethod
    def read_dim(text_encoder_folder: Path | str) -> int:
        """Width of a token, from `config.json` alone.

        Raises:
            CheckpointError: There is no such file, it is damaged, or it has no such number.
        """
        path = Path(text_encoder_folder) / "config.json"
        dim = read_json(path).get("d_model")
        if not isinstance(dim, int) or dim < 1:
            raise CheckpointError(f"d_model in {path}", got=repr(dim), allowed="a whole number, 1 or more")
        return dim

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self._network.config.d_model

    @torch.no_grad()
    def encode(self, instructions: list[str]) -> TextEmbedding:
        """Tokens [batch, length, dim]; the end mark counts as a token, so an empty instruction has one.

        HTML entities are resolved and white space collapsed first, as in training the published weights.
        """
        batch = self._tokenizer(
            [" ".join(html.unescape(html.unescape(instruction)).split()) for instruction in instructions],
            padding="max_length",
            max_length=self._length,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        device = next(self._network.parameters()).device
        ids, mask = batch.input_ids.to(device), batch.attention_mask.to(device)
        tokens = self._network(ids, mask).last_hidden_state.float()
        return TextEmbedding(tokens * mask.unsqueeze(-1), mask.sum(dim=1))


def _refuse_pickles(folder: Path) -> None:
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if pickles and not any(folder.glob("*.safetensors")):
        command = (
            f"from transformers import UMT5EncoderModel as M; M.from_pretrained('{folder}').save_pretrained('OUT')"
        )
        raise CheckpointError(
            f"weights of the UMT5 text encoder in {folder}",
            got=f"pickles, which can run any code: {', '.join(pickles)}",
            allowed="safetensors",
            cure=f'if you trust them, convert them once: python -c "{command}"',
        )


def _check_files(text_encoder: Path, tokenizer: Path) -> None:
    """Refuse what transformers would wait for or build without end: pipes and devices, sizes that no file holds."""
    for path in (*text_encoder.iterdir(), *tokenizer.iterdir()):
        if not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"UMT5 text encoder's {path}", got="no regular file", allowed="regular files")
    stored = TensorFolder.open(text_encoder, "model", "UMT5 text encoder")
    config = read_json(text_encoder / "config.json")
    check_sizes(config, stored, "num_layers", f"configuration of the UMT5 text encoder in {text_encoder}")


def _words(instruction: str) -> list[str]:
    stripped = (word.strip(string.punctuation) for word in instruction.lower().split())
    return [word for word in stripped if word]


def _word_vector(word: str, dim: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=16).digest(), "little")
    vector = np.random.Generator(np.random.Philox(seed)).standard_normal(dim)
    return vector / np.linalg.norm(vector)


def _place_code(place: int, dim: int) -> np.ndarray:
    """Sines and cosines of the place, of half a word vector's length so that the word stays the louder."""
    angles = place / 100.0 ** (np.arange(dim // 2) / (dim // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)]) * 0.5 / np.sqrt(dim / 2)
