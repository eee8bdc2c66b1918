"""The statistics a LeRobot dataset carries, per episode and as a whole.

A summary is a dict: min, max, mean, std, count, q01, q10, q50, q90, q99, each an array over the entries of a
column, or [3, 1, 1] over the channels of a camera, whose pixels count as 0 to 1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
Summary = dict[str, np.ndarray]


def summarise_column(values: Shaped[np.ndarray, "rows entries"]) -> Summary:
    """Return the summary of a numeric column."""
    values = values.astype(np.float64)
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        "count": np.array([len(values)]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


class PixelSummary:
    """Counts pixel values of some frames of an episode while they stream by."""

    def __init__(self, num_frames: int):
        """Choose the frames to look at as LeRobot does: some hundred of them, evenly spread."""
        num_samples = min(num_frames, max(100, min(int(num_frames**0.75), 10_000)))
        self._rows = set(np.round(np.linspace(0, num_frames - 1, num_samples)).astype(int).tolist())
        self._counts = np.zeros((3, 256), np.int64)
        self.num_seen = 0
        """Frames that have passed."""

    def watch(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Hand the frames on and count the pixels of those in the sample."""
        for row, frame in enumerate(frames):
            yield frame
            self.num_seen += 1
            if row in self._rows:
                for channel, counts in enumerate(self._counts):
                    counts += np.bincount(frame[..., channel].ravel(), minlength=256)

    def summary(self) -> Summary:
        """Return the summary of the frames that have passed."""
        values = np.arange(256) / 255
        total, below, present = self._counts.sum(1), self._counts.cumsum(1), self._counts > 0
        mean = self._counts @ values / total
        summary = {
            "min": values[present.argmax(1)],
            "max": values[255 - present[:, ::-1].argmax(1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(self._counts @ values**2 / total - mean**2, 0)),
            "count": np.array([len(self._rows)]),
        }
        for name, fraction in QUANTILES.items():
            summary[name] = values[(below >= fraction * total[:, None]).argmax(1)]
        return {name: value if name == "count" else value.reshape(3, 1, 1) for name, value in summary.items()}


def merge_summaries(summaries: Sequence[Summary]) -> Summary:
    """Return the summary of several episodes' rows together.

    Quantiles become means weighted by count, as LeRobot has it: an approximation. Whoever needs exact ones
    takes them from the column itself.
    """
    counts = np.array([int(summary["count"][0]) for summary in summaries])
    total = counts.sum()

    def average(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.tensordot(counts, np.stack(values), axes=1) / total

    mean = average([summary["mean"] for summary in summaries])
    variances = [summary["std"] ** 2 + (summary["mean"] - mean) ** 2 for summary in summaries]
    names = [name for name in QUANTILES if all(name in summary for summary in summaries)]
    return {
        "min": np.min([summary["min"] for summary in summaries], axis=0),
        "max": np.max([summary["max"] for summary in summaries], axis=0),
        "mean": mean,
        "std": np.sqrt(average(variances)),
        "count": np.array([total]),
        **{name: average([summary[name] for summary in summaries]) for name in names},
    }


def merge_stats(parts: Sequence[Mapping[str, Summary]]) -> dict[str, Summary]:
    """Return the summaries of several episodes as one, feature by feature."""
    return {name: merge_summaries([part[name] for part in parts]) for name in parts[0]}


def stats_to_lists(stats: Mapping[str, Summary]) -> dict[str, dict[str, Any]]:
    """Return the summaries in the form of `meta/stats.json`."""
    return {name: {key: value.tolist() for key, value in summary.items()} for name, summary in stats.items()}


def stats_from_lists(stats: Mapping[str, Mapping[str, Any]]) -> dict[str, Summary]:
    """Return the inverse of `stats_to_lists`."""
    return {name: {key: np.atleast_1d(value) for key, value in summary.items()} for name, summary in stats.items()}


def stats_to_row(stats: Mapping[str, Summary]) -> dict[str, Any]:
    """Return the summaries in the form of a row of `meta/episodes`."""
    return {
        f"stats/{name}/{key}": value
        for name, summary in stats_to_lists(stats).items()
        for key, value in summary.items()
    }


def stats_from_row(row: Mapping[str, Any]) -> dict[str, Summary]:
    """Return the inverse of `stats_to_row`; other entries of the row are passed over."""
    stats: dict[str, dict[str, Any]] = {}
    for entry, value in row.items():
        if entry.startswith("stats/"):
            _, name, key = entry.split("/")
            stats.setdefault(name, {})[key] = value
    return stats_from_lists(stats)
