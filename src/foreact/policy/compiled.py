"""Warming a compiled policy up: every shape that its sessions need, compiled before the first of them begins."""

import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from foreact.codecs.text import TextEmbedding
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Ahead


def warm_up(predictor: Predictor, *, num_sessions: Iterable[int] = (1,)) -> float:
    """Make every pass that a session makes, so that no session waits for the compiler; return the seconds it took.

    The passes: the first frame and a chunk appended, steps of video and of actions, each with the rows it needs; and,
    where the policy can act while it thinks, the same with every number of latent frames under way and with a prefix.

    Args:
        predictor: Of a network that `compile_layers` has been given.
        num_sessions: Numbers of sessions that will be predicted together.
    """
    start = time.perf_counter()
    for count in num_sessions:
        for _ in range(2):  # CUDA graphs are recorded when a shape comes by for the second time
            _run(predictor, count)
    if predictor.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _run(predictor: Predictor, count: int) -> None:
    """Drive rollouts from their first frame to their third chunk: the first may be unlike all others."""
    sizes, chunk = predictor.model.config, predictor.config.latent_frames_per_chunk
    words = TextEmbedding(tokens=torch.zeros(1, 1, sizes.text_dim), lengths=torch.ones(1, dtype=torch.long))
    rollouts = [predictor.start(words, words, seed=number) for number in range(count)]
    first_chunk = chunk - 1 if predictor.config.trained.first_frame == "chunk" else chunk
    for num_frames in (1, first_chunk, chunk):
        latents = torch.zeros(sizes.latent_channels, num_frames, *sizes.canvas)
        actions = torch.zeros(num_frames, sizes.actions_per_latent_frame, sizes.action_channels)
        predictor.append_observed_together(rollouts, [latents] * count, [actions] * count)
        predictor.predict_together(rollouts)
    for ahead in _commitments(predictor, latents, actions):
        predictor.predict_together(rollouts, [ahead] * count)


def _commitments(predictor: Predictor, latents: Tensor, actions: Tensor) -> Iterator[Ahead]:
    """Yield one of each shape that what is under way can have, from a chunk's latents and actions."""
    config = predictor.config
    prefix = actions[0, :1] if config.trained.action_prefixes else None
    for num_frames in range(len(actions) + 1 if config.asynchronous else 1):
        if num_frames or prefix is not None:
            believed = None if config.trained.forward_dynamics or not num_frames else latents[:, :num_frames]
            yield Ahead(actions=actions[:num_frames], latents=believed, prefix=prefix)
