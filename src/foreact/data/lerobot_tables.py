"""The parquet tables of a LeRobot v3.0 dataset, with the schema metadata its readers look for."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from foreact.data.lerobot_files import meta_place_of, place_of
from foreact.data.lerobot_info import COUNTERS
from foreact.data.lerobot_stats import Summary, stats_to_row


def counter_columns(
    *, length: int, fps: int, episode_index: int, first_index: int, task_index: int
) -> dict[str, np.ndarray]:
    """Return the columns LeRobot adds by itself, [rows, 1]."""
    rows = np.arange(length)
    values = {
        "timestamp": rows / fps,
        "frame_index": rows,
        "episode_index": np.full(length, episode_index),
        "index": first_index + rows,
        "task_index": np.full(length, task_index),
    }
    return {name: values[name].astype(dtype)[:, None] for name, dtype in COUNTERS.items()}


def episode_row(
    *,
    length: int,
    fps: int,
    episode_index: int,
    first_index: int,
    instruction: str,
    cameras: Iterable[str],
    stats: Mapping[str, Summary],
) -> dict[str, Any]:
    """Return what `meta/episodes` says about an episode that has files of its own."""
    place = place_of(episode_index)
    row: dict[str, Any] = {
        "episode_index": episode_index,
        "tasks": [instruction],
        "length": length,
        **{f"data/{name}": number for name, number in place.items()},
        "dataset_from_index": first_index,
        "dataset_to_index": first_index + length,
    }
    for key in cameras:
        row |= {f"videos/{key}/{name}": number for name, number in place.items()}
        row |= {f"videos/{key}/from_timestamp": 0.0, f"videos/{key}/to_timestamp": length / fps}
    row |= stats_to_row(stats)
    return row | {f"meta/episodes/{name}": number for name, number in meta_place_of(episode_index).items()}


def table_bytes(table: pa.Table) -> bytes:
    """Return the table as a parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="snappy")
    return buffer.getvalue()


def rows_table(columns: Mapping[str, np.ndarray]) -> pa.Table:
    """Return one row per frame; [rows, entries] arrays become fixed-size lists, one entry a plain number.

    The metadata let Hugging Face's `datasets` restore the columns' types.
    """
    arrays, features = [], {}
    for name, values in columns.items():
        flat = pa.array(values.reshape(-1))
        feature: dict[str, Any] = {"dtype": str(values.dtype), "_type": "Value"}
        if values.shape[1] > 1:
            flat = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
            feature = {"feature": feature, "length": values.shape[1], "_type": "List"}
        arrays.append(flat)
        features[name] = feature
    table = pa.Table.from_arrays(arrays, names=list(columns))
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def tasks_table(instructions: Sequence[str]) -> pa.Table:
    """Return the table of instructions. LeRobot finds an instruction by pandas' index, hence the metadata."""
    table = pa.table({"task_index": pa.array(range(len(instructions)), pa.int64()), "task": list(instructions)})
    number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64"}
    text = {"name": "task", "field_name": "task", "pandas_type": "unicode"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [
            {
                "name": None,
                "field_name": None,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": {"encoding": "UTF-8"},
            }
        ],
        "columns": [
            {**number, "numpy_type": "int64", "metadata": None},
            {**text, "numpy_type": "object", "metadata": None},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.3.3",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def episodes_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return one row per episode."""
    return pa.Table.from_pylist([dict(row) for row in rows])
