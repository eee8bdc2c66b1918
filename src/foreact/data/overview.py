"""What a dataset is, in a few lines: from `meta/` and the names of files alone, no row and no picture is read."""

import json
from pathlib import Path

import numpy as np

from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import latents_folder
from foreact.embodiments.proposal import entry_names

MOST_INSTRUCTIONS = 6
"""Shown of a dataset's instructions."""
ROWS = (("action", "action"), ("observation.state", "state"))
"""Columns whose entries are listed, and how an entry without a name is called."""


def dataset_facts(dataset: EpisodeDataset, latents: Path | None = None) -> dict[str, str]:
    """Return what was recorded, of how many episodes, and how many of them are encoded, as name and text.

    Args:
        dataset: To be described.
        latents: Folder of its latents, if not with it.
    """
    facts = {
        "dataset": f"{dataset.root}, LeRobot {dataset.version}",
        "robot": dataset.robot_type or "not named",
        "episodes": f"{dataset.num_episodes}, {dataset.num_frames / dataset.fps / 3600:.2f} hours, "
        f"{dataset.num_frames} rows at {dataset.fps:g} Hz",
    }
    if dataset.num_episodes:
        lengths_s = dataset.lengths / dataset.fps
        facts["length"] = f"{lengths_s.min():.1f} to {lengths_s.max():.1f} s, median {np.median(lengths_s):.1f} s"
    sizes = {key: dataset.frame_size(key) for key in dataset.camera_keys}
    facts["cameras"] = ", ".join(f"{key} {height} x {width}" for key, (height, width) in sizes.items()) or "none"
    for column, stem in ROWS:
        if column in dataset.column_names:
            facts[column] = ", ".join(entry_names(dataset.features[column], stem))
    details = dataset.instructions
    more = f"; and {len(details) - MOST_INSTRUCTIONS} more" if len(details) > MOST_INSTRUCTIONS else ""
    facts["instructions"] = "; ".join(map(repr, details[:MOST_INSTRUCTIONS])) + more if details else "none"
    facts["latents"] = "; ".join(_encoded(dataset, latents)) or "none: `foreact encode` makes them"
    return facts


def _encoded(dataset: EpisodeDataset, latents: Path | None) -> list[str]:
    """Return one text for each encoding of the dataset: of how many episodes, by which VAE, of which cameras."""
    details = []
    for path in sorted(latents_folder(dataset.root, latents).glob("*/cache.json")):
        try:
            made = json.loads(path.read_text())
            cameras, vae = ", ".join(made["layout"]["cameras"]), made["vae"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it cannot be used, and whoever wants to use it is told why
        count = len(list(path.parent.glob("episode-*.safetensors")))
        details.append(f"{count} of {dataset.num_episodes} episodes, cameras {cameras}, video VAE {vae}")
    return details
