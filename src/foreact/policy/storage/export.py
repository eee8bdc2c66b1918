"""A policy copied for use elsewhere: the network's weights at another precision, tensor by tensor, in shards."""

import json
import shutil
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch

from foreact.errors import CheckpointError
from foreact.files import write_whole
from foreact.folders import check_room, only_writer
from foreact.policy.storage.assembly import TEXT_ENCODER_FOLDER, TOKENIZER_FOLDER, VAE_FOLDER
from foreact.policy.storage.checkpoint import CARD_FILE, CONFIG_FILE, MAX_SHARD_BYTES, STEM, check_format, copy_parts
from foreact.settings import read_json
from foreact.shards import ShardWriter, TensorFolder

Precision = Literal["stored", "float32", "bfloat16"]
_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def export_policy(
    source: Path, target: Path, precision: Precision = "bfloat16", *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Copy a policy; no more than one shard of it is ever in memory.

    The video VAE stays as it is, for latents that were cached are known by its weights. The configuration is written
    last.

    Args:
        source: Folder of a policy that foreact has saved, or of the training run that it is in.
        target: Folder of the copy; made if missing.
        precision: Of the transformer's weights in the copy; stored: as they are.
        max_shard_bytes: Size of a file.

    Raises:
        CheckpointError: `source` holds no policy, `target` is the same folder, or it could not be written.
        ConfigurationError: Somebody else writes to `target`, or its disk has too little room.
    """
    source = source / "policy" if (source / "policy" / CONFIG_FILE).is_file() else source
    config = read_json(source / CONFIG_FILE)
    check_format(config, source / CONFIG_FILE)
    if target.resolve() == source.resolve():
        raise CheckpointError("folder of the copy", got="the policy's own", cure="choose another folder")
    tensors = TensorFolder.open(source, STEM, "policy")
    provenance = config.setdefault("provenance", {})
    provenance["exported"] = {"precision": precision, "from": source.name}
    kinds = {name: _TYPES.get(precision, tensors.dtype(name)) for name in tensors.names}
    check_room(target, sum(prod(tensors.shape(name)) * kind.itemsize for name, kind in kinds.items()))
    try:
        with only_writer(target):
            _copy(source, target, config, tensors, precision, max_shard_bytes)
    except OSError as error:
        raise CheckpointError(f"writing {target}", got=str(error), cure="free some space, or choose another") from error


def _copy(
    source: Path, target: Path, config: dict[str, Any], tensors: TensorFolder, precision: Precision, max_bytes: int
) -> None:
    copy_parts(source, target, (VAE_FOLDER, TEXT_ENCODER_FOLDER, TOKENIZER_FOLDER))
    with ShardWriter(target, STEM, max_bytes) as writer:
        for name, value in tensors.items():
            writer.add(name, value.to(_TYPES.get(precision, value.dtype)))
    if (source / CARD_FILE).is_file():
        write_whole(target / CARD_FILE, lambda path: shutil.copyfile(source / CARD_FILE, path))
    write_whole(target / CONFIG_FILE, (json.dumps(config, indent=1) + "\n").encode())
