import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreact.data.episodes import EpisodeDataset
from foreact.data.lerobot_stats import (
    PixelSummary,
    merge_stats,
    merge_summaries,
    stats_from_lists,
    stats_from_row,
    stats_to_row,
    summarise_column,
)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_merged_parts_equal_the_whole(lengths, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(rng.normal(), 2, (length, 3)) for length in lengths]
    merged = merge_summaries([summarise_column(part) for part in parts])
    whole = summarise_column(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-9, atol=1e-12)
    assert (merged["q10"] >= whole["min"]).all() and (merged["q90"] <= whole["max"]).all()


def test_columns_are_summarised_as_lerobot_does(golden):
    """LeRobot takes quantiles from histograms, so they lie between the neighbouring exact ones."""
    rows = pq.read_table(golden / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for episode, row in zip(EpisodeDataset(golden), rows, strict=True):
        theirs = stats_from_row(row)["action"]
        values = episode.column("action")
        ours = summarise_column(values)
        for name in ("min", "max", "mean", "std", "count"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6)
        spacing = np.diff(np.sort(values, axis=0), axis=0).max(0)
        for name in ("q01", "q10", "q50", "q90", "q99"):
            assert (np.abs(ours[name] - theirs[name]) <= spacing + 1e-3).all(), name


def test_episodes_are_merged_as_lerobot_does(golden):
    rows = pq.read_table(golden / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    merged = merge_stats([stats_from_row(row) for row in rows])
    theirs = stats_from_lists(json.loads((golden / "meta/stats.json").read_text()))
    assert merged.keys() == theirs.keys()
    for feature, summary in merged.items():
        assert summary.keys() == theirs[feature].keys()
        for name, value in summary.items():
            np.testing.assert_allclose(value, theirs[feature][name], rtol=1e-7, atol=1e-15)


def test_rows_hold_stats_exactly():
    stats = {"action": summarise_column(np.random.default_rng(0).normal(size=(7, 2)))}
    back = stats_from_row({"length": 7, **stats_to_row(stats)})
    for name, value in stats["action"].items():
        np.testing.assert_array_equal(back["action"][name], value)


@pytest.mark.parametrize(("num_frames", "num_counted"), [(1, 1), (30, 30), (150, 100), (1000, 177)])
def test_pixels_of_evenly_spread_frames_are_counted(num_frames, num_counted):
    rng = np.random.default_rng(num_frames)
    frames = rng.integers(0, 256, (num_frames, 4, 6, 3), np.uint8)
    pixels = PixelSummary(num_frames)
    assert sum(1 for _ in pixels.watch(frames)) == num_frames == pixels.num_seen
    summary = pixels.summary()
    assert summary["count"] == [num_counted]
    rows = np.round(np.linspace(0, num_frames - 1, num_counted)).astype(int)
    values = frames[rows].reshape(-1, 3) / 255
    expected = {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        "q50": np.quantile(values, 0.5, axis=0, method="inverted_cdf"),
        "q99": np.quantile(values, 0.99, axis=0, method="inverted_cdf"),
    }
    for name, value in expected.items():
        assert summary[name].shape == (3, 1, 1)
        np.testing.assert_allclose(summary[name].ravel(), value, atol=1e-12)
