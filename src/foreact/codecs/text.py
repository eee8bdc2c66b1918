"""Instructions as token embeddings: a weightless encoder for small policies, UMT5 for published ones."""

import hashlib
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from foreact.errors import CheckpointError, ConfigurationError


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
        cls, text_encoder_folder: Path | str, tokenizer_folder: Path | str, *, length: int = 512
    ) -> "UMT5Encoder":
        """The encoder stored in two folders of transformers' layout.

        Raises:
            ConfigurationError: The package `transformers` is not installed.
            CheckpointError: A folder is missing or cannot be read.
        """
        try:
            from transformers import AutoTokenizer, UMT5EncoderModel  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigurationError(
                "the UMT5 text encoder", got=str(error), cure='pip install "foreact[umt5]"'
            ) from error
        for folder in (text_encoder_folder, tokenizer_folder):
            if not Path(folder).is_dir():
                raise CheckpointError("UMT5 text encoder", got=f"no folder {folder}", allowed="transformers' layout")
        try:
            network = UMT5EncoderModel.from_pretrained(text_encoder_folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
        except Exception as error:  # transformers raises whatever its readers raise
            raise CheckpointError(
                "UMT5 text encoder", got=f"{text_encoder_folder}, {tokenizer_folder}: {error}"
            ) from error
        return cls(network, tokenizer, length)

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self._network.config.d_model

    @torch.no_grad()
    def encode(self, instructions: list[str]) -> TextEmbedding:
        """Tokens [batch, length, dim]; the end mark counts as a token, so an empty instruction has one."""
        batch = self._tokenizer(
            instructions,
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
