"""A policy on recorded episodes, joint by joint, next to one that repeats the last action."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.data.renaming import ACTION, STATE
from foreact.data.sequences import EXECUTED, make_sequence
from foreact.errors import DatasetError
from foreact.policy.policy import Policy
from foreact.training.validation import predict_chunks


def compare_joints(
    policy: Policy, dataset: EpisodeDataset, held_out: int, latents: Path | None
) -> Iterator[dict[str, Any]]:
    """Yield, for each entry of the action, the policy's mean error and that of repeating the last action.

    Both are in the robot's own units, over all chunks of the last episodes, predicted from their real history.

    Raises:
        DatasetError: The episodes are not encoded with the policy's video VAE.
    """
    cache = LatentCache(dataset, policy.networks.vae, policy.embodiment, elsewhere=latents)
    ours: list[np.ndarray] = []
    repeated: list[np.ndarray] = []
    for index in range(max(0, dataset.num_episodes - held_out), dataset.num_episodes):
        episode = dataset.episode(index)
        column = EXECUTED if EXECUTED in dataset.column_names else ACTION
        sequence = make_sequence(episode, cache.load(index), policy.codec, executed_column=column)
        hold = policy.embodiment.hold_action(episode.column(STATE)[0])
        recorded = policy.codec.decode(sequence.actions.flatten(0, 1).numpy(), hold)
        valid = sequence.action_valid.flatten().numpy()
        per_frame = policy.embodiment.timing.actions_per_latent_frame
        for now, prediction in predict_chunks(policy, sequence, seed=index):
            rows = slice(now.start * per_frame, now.stop * per_frame)
            decoded = policy.codec.decode(prediction.actions.flatten(0, 1).cpu().numpy(), hold)
            ours.append(np.abs(decoded - recorded[rows])[valid[rows]])
            repeated.append(np.abs(recorded[rows.start - 1] - recorded[rows])[valid[rows]])
    if not ours:
        raise DatasetError(
            f"episodes of {dataset.root} to compare a policy with",
            got="none as long as one of its chunks",
            allowed=f"{policy.actions_per_chunk} rows and more",
        )
    mine, still = np.concatenate(ours).mean(axis=0), np.concatenate(repeated).mean(axis=0)
    for dof, error, baseline in zip(policy.embodiment.dofs, mine, still, strict=True):
        yield {"joint": dof.name, "unit": dof.unit, "policy": float(error), "last_action": float(baseline)}
