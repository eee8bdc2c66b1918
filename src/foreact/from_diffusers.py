"""What foreact takes from diffusers, imported in one place.

Where torchao is installed, importing diffusers logs a line for every GPU kernel that the machine has no use for. Those
loggers are quietened while that import runs, and have their own levels again afterwards.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao.torchao_quantizer")


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Let loggers say nothing below an error for a while."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


with quiet(*_LOGGERS):
    from diffusers import AutoencoderKLWan
    from diffusers.models.autoencoders.autoencoder_kl_wan import (
        WanCausalConv3d,
        WanRMS_norm,
        patchify,
        unpatchify,
    )
    from diffusers.models.embeddings import get_timestep_embedding
    from diffusers.optimization import get_scheduler

__all__ = [
    "AutoencoderKLWan",
    "WanCausalConv3d",
    "WanRMS_norm",
    "get_scheduler",
    "get_timestep_embedding",
    "patchify",
    "unpatchify",
]
