"""Does the history say to which bin? Apart from whether the hand can get there: on recorded episodes.

    python experiments/memory/run.py --policy runs/tiny/policy --data data/remember_bin --episodes 50 120

Up to the chunk in which the left arm turns to its bin, everything is as recorded; then the policy is asked, with all of
that history and with its last few latent frames, in which the lamp is dark. Only the two outer bins are counted: an arm
that stays in the middle may be on its way. An arm that turns turns to the right one by chance every second time.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from scipy.stats import binomtest

import foreact
from foreact.data.batch import TrainingSequence
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.data.sequences import load_sequences
from foreact.evaluation.statistics import wilson_interval
from foreact.policy.policy import Policy
from foreact.training.validation import relive, whole_chunks

TURNED_RAD = 0.2
"""Of the left waist. The outer bins are at 0.37 to either side, the middle one and the hand-over at 0."""
STILL_RAD = 0.02
"""An arm that has turned further gives away where to."""
RIGHT, WRONG, NOT_YET = "to its bin", "to the other side", "not yet"


def find_choice(waist: np.ndarray, chunks: list[slice]) -> slice | None:
    """Return the chunk in which an arm turns to the outer bin where it stays, or None.

    Args:
        waist: [latent frames] angle after the last action of each, in rad.
        chunks: Their latent frames, one after the other.

    Returns:
        None for the middle bin, and where the arm had begun to turn, or was elsewhere, when the chunk began.
    """
    sides = _side(waist)
    if not sides[-1]:
        return None
    there = [chunk for chunk in chunks if (sides[chunk.stop - 1 :] == sides[-1]).all()]
    return there[0] if there and abs(waist[there[0].start - 1]) < STILL_RAD else None


def turns(policy: Policy, sequences: list[TrainingSequence], window: int | None) -> Iterator[str]:
    """Yield where the policy turns, for every episode with a choice."""
    for index, sequence in enumerate(track(sequences, description=f"window {window or policy.config.window}")):
        waist = _waist(policy, sequence.actions)[:, -1]
        choice = find_choice(waist, list(whole_chunks(sequence, policy.config.latent_frames_per_chunk)))
        if choice is None:
            continue
        now, rollout = next(at for at in relive(policy, sequence, seed=index, window=window) if at[0] == choice)
        turned = _side(_waist(policy, policy.predictor.predict(rollout).actions)[-1, -1])
        yield NOT_YET if not turned else RIGHT if turned == _side(waist[now.stop - 1]) else WRONG


def _side(waist: np.ndarray) -> np.ndarray:
    return np.sign(waist) * (np.abs(waist) > TURNED_RAD)


def _waist(policy: Policy, actions: torch.Tensor) -> np.ndarray:
    """Return the left waist's angles in rad, [frames, actions a frame], from model units."""
    decoded = policy.codec.decode(actions.flatten(0, 1).numpy())
    return decoded[:, policy.embodiment.dof_names.index("left_waist")].reshape(actions.shape[:2])


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--episodes", type=int, nargs=2, required=True, metavar=("FIRST", "END"), help="of the dataset")
    parser.add_argument("--short", type=int, default=4, help="latent frames of the short history")
    given = parser.parse_args()
    for name in given.policy:
        policy, dataset = foreact.load(name), EpisodeDataset(given.data)
        cache = LatentCache(dataset, policy.networks.vae, policy.embodiment)
        sequences = load_sequences(dataset, cache, policy.codec)[slice(*given.episodes)]
        for window in (None, given.short):
            counts = Counter(turns(policy, sequences, window))
            right, turned = counts[RIGHT], counts[RIGHT] + counts[WRONG]
            low, high = wilson_interval(right, turned) if turned else (0, 1)
            p = binomtest(right, turned).pvalue if turned else 1.0
            print(f"{name}, window {window or policy.config.window}, {counts.total()} choices:", end=" ")
            print(", ".join(f"{counts[where]} {where}" for where in (RIGHT, WRONG, NOT_YET)), end="; ")
            print(f"{right} of {turned} turn rightly ({100 * low:.0f} to {100 * high:.0f} %), p = {p:.2g}")


if __name__ == "__main__":
    main()
