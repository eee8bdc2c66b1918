"""A policy copied for use elsewhere: the network's weights at another precision, tensor by tensor, in shards."""

import json
import shutil
from pathlib import Path
from typing import Literal

import torch

from foreact.errors import CheckpointError
from foreact.files import write_whole
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
    """
    source = source / "policy" if (source / "policy" / CONFIG_FILE).is_file() else source
    config = read_json(source / CONFIG_FILE)
    check_format(config, source / CONFIG_FILE)
    if target.resolve() == source.resolve():
        raise CheckpointError("folder of the copy", got="the policy's own", cure="choose another folder")
    tensors = TensorFolder.open(source, STEM, "policy")
    provenance = config.setdefault("provenance", {})
    provenance["exported"] = {"precision": precision, "from": source.name}
    try:
        target.mkdir(parents=True, exist_ok=True)
        copy_parts(source, target, (VAE_FOLDER, TEXT_ENCODER_FOLDER, TOKENIZER_FOLDER))
        with ShardWriter(target, STEM, max_shard_bytes) as writer:
            for name, value in tensors.items():
                writer.add(name, value.to(_TYPES.get(precision, value.dtype)))
        if (source / CARD_FILE).is_file():
            write_whole(target / CARD_FILE, lambda path: shutil.copyfile(source / CARD_FILE, path))
        write_whole(target / CONFIG_FILE, (json.dumps(config, indent=1) + "\n").encode())
    except OSError as error:
        raise CheckpointError(f"writing {target}", got=str(error), cure="free some space, or choose another") from error
