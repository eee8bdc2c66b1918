"""From files to networks in memory: asked whether they fit, filled strictly, put in place. For every layout alike."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from foreact.codecs.text import TextEncoder, UMT5Encoder
from foreact.codecs.text_cache import CachedTextEncoder, encoder_key, user_cache
from foreact.codecs.video_vae import VideoVAE
from foreact.policy.inference import InferenceConfig, cache_numbers
from foreact.policy.networks import Networks
from foreact.policy.storage.placement import (
    IN_MEMORY,
    Footprint,
    Placement,
    check_memory,
    layers,
    place,
    placed_when_whole,
)
from foreact.settings import to_plain
from foreact.shards import TensorFolder, check_sizes, load_strictly
from foreact.transformer.model import TransformerConfig, WorldActionModel

VAE_FOLDER, TEXT_ENCODER_FOLDER, TOKENIZER_FOLDER = "vae", "text_encoder", "tokenizer"

Rename = Callable[[str, Tensor], Iterable[tuple[str, Tensor]]]


@dataclass(frozen=True, kw_only=True)
class StoredNetworks:
    """Where a policy's networks lie; nothing is read yet."""

    folder: Path
    """Holds `vae/`, and for a large text encoder `text_encoder/` and `tokenizer/`."""
    transformer: TransformerConfig
    tensors: TensorFolder
    """Of the transformer."""
    rename: Rename = lambda name, tensor: [(name, tensor)]
    """What a stored tensor is in our network."""
    text_encoder: TextEncoder | None = None
    """None: the UMT5 encoder in the folder."""

    def dtype(self, placement: Placement) -> torch.dtype:
        """Return the transformer's precision in memory; where files mix several, the widest, which loses nothing."""
        kinds = {self.tensors.dtype(name) for name in self.tensors.names}
        return placement.torch_dtype or functools.reduce(torch.promote_types, kinds)


def build_networks(stored: StoredNetworks, inference: InferenceConfig, placement: Placement) -> Networks:
    """Return the networks in evaluation mode, placed as asked.

    Raises:
        CheckpointError: There is too little memory (said before anything is loaded), or the files are not what
            `stored` says.
    """
    what = f"the policy in {stored.folder}"
    check_sizes(to_plain(stored.transformer), stored.tensors, "num_layers", f"settings of {what}")
    with torch.device("meta"):
        model = WorldActionModel(stored.transformer)
    check_memory(_footprint(stored, model, inference), placement, what)
    renamed = (pair for name, tensor in stored.tensors.items() for pair in stored.rename(name, tensor))
    # Layers that are quantised or stay at home come to the device later, one by one, or not at all.
    early = "cpu" if placement.offload or placement.quantize != "none" else placement.device
    arriving = placed_when_whole(model, renamed, placement)
    load_strictly(model, arriving, what=f"weights of {what}", dtype=stored.dtype(placement), device=early)
    vae = VideoVAE.from_pretrained(stored.folder / VAE_FOLDER, dtype=placement.torch_dtype)
    return Networks(
        model=place(model, placement).eval(),
        vae=vae.to(placement.device).eval(),
        text_encoder=stored.text_encoder or umt5_encoder(stored.folder, stored.transformer.text_length, placement),
        text_files=None if stored.text_encoder else stored.folder,
    )


def umt5_encoder(folder: Path, length: int, placement: Placement) -> TextEncoder:
    """Return the text encoder in `text_encoder/` and `tokenizer/` of a folder, kept in memory as the placement says.

    Args:
        folder: Holds both.
        length: Tokens that instructions are padded to.
        placement: Where it computes, and for how long it stays.
    """
    folders, keep = (folder / TEXT_ENCODER_FOLDER, folder / TOKENIZER_FOLDER), placement.text_encoder

    def load() -> UMT5Encoder:
        device = placement.device if keep == "keep" else "cpu"
        return UMT5Encoder.from_pretrained(*folders, length=length, dtype=placement.torch_dtype, device=device)

    if keep == "keep":
        return load()
    return CachedTextEncoder(
        load,
        folder=user_cache(),
        key=encoder_key(*folders, settings=f"{placement.dtype} {length}"),
        dim=UMT5Encoder.read_dim(folders[0]),
        keep=keep == "cpu",
    )


def _footprint(stored: StoredNetworks, model: WorldActionModel, inference: InferenceConfig) -> Footprint:
    sizes = stored.transformer
    modules = (module for block in layers(model) for module in block.modules())
    matrices = sum(module.weight.numel() for module in modules if isinstance(module, nn.Linear))
    return Footprint(
        matrices=matrices,
        others=sum(parameter.numel() for parameter in model.parameters()) - matrices,
        num_layers=sizes.num_layers,
        vae=_num_stored(stored.folder / VAE_FOLDER, "diffusion_pytorch_model", "video VAE"),
        text_encoder=0 if stored.text_encoder else _num_stored(stored.folder / TEXT_ENCODER_FOLDER, "model", "UMT5"),
        cache=cache_numbers(sizes, inference.as_driven()),
        stored_bytes=stored.dtype(IN_MEMORY).itemsize,
    )


def _num_stored(folder: Path, stem: str, what: str) -> int:
    stored = TensorFolder.open(folder, stem, what)
    return sum(torch.Size(stored.shape(name)).numel() for name in stored.names)
