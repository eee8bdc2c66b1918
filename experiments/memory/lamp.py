"""Do the latents hold the lamp's colour? A linear reading of one latent frame, each episode read by all others.

    python experiments/memory/lamp.py --data data/remember_bin

Ridge regression from all values of the latent frame of the flash to the three bins, leave one out; the bin is where the
left arm ends.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

import foreact
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.evaluation.statistics import wilson_interval

BIN_RAD = 0.37
"""Of the left waist: the outer bins are so far to either side of the middle one."""
BINS = (-1, 0, 1)


def read_out(values: np.ndarray, bins: np.ndarray, penalty: float) -> np.ndarray:
    """Return the bin that ridge regression reads from each row, fitted to all other rows.

    Args:
        values: [episodes, values] what is read.
        bins: [episodes] of -1, 0 and 1.
        penalty: Of squared weights, as a share of the mean squared length of a row.

    Returns:
        [episodes] of -1, 0 and 1. Source of leave one out without refitting: Allen (1974), PRESS.
    """
    centred = values - values.mean(axis=0)
    gram = centred @ centred.T
    hat = gram @ np.linalg.inv(gram + penalty * np.trace(gram) / len(gram) * np.eye(len(gram))) + 1 / len(gram)
    targets = (bins[:, None] == np.array(BINS)).astype(float)
    left_out = targets - (targets - hat @ targets) / (1 - np.diag(hat))[:, None]
    return np.array(BINS)[left_out.argmax(axis=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny", help="whose video VAE encoded the dataset")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--frame", type=int, default=1, help="latent frame; 1 has the flash")
    parser.add_argument("--penalties", type=float, nargs="+", default=[0.001, 0.01, 0.1])
    given = parser.parse_args()
    policy, dataset = foreact.load(given.policy), EpisodeDataset(given.data)
    cache = LatentCache(dataset, policy.networks.vae, policy.embodiment)
    waist = policy.embodiment.dof_names.index("left_waist")
    values, bins = [], []
    for episode in track(dataset, "reading", total=dataset.num_episodes):
        values.append(cache.load(episode.index)[:, given.frame].flatten().numpy())
        bins.append(int(np.clip(np.round(episode.column("action")[-1, waist] / BIN_RAD), -1, 1)))
    pictures, wanted = np.array(values), np.array(bins)
    for penalty in given.penalties:
        right = int((read_out(pictures, wanted, penalty) == wanted).sum())
        low, high = (100 * end for end in wilson_interval(right, len(bins)))
        print(f"penalty {penalty:g}: {right} of {len(bins)} bins are read rightly ({low:.0f} to {high:.0f} %)")


if __name__ == "__main__":
    main()
