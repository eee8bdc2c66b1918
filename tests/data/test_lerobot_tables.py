import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from foreact.data.lerobot_tables import counter_columns, episode_row, rows_table, table_bytes, tasks_table


def test_rows_survive_the_file():
    columns = {"action": np.float32([[1, 2], [3, 4]]), "index": np.int64([[7], [8]])}
    table = pq.read_table(pa.BufferReader(table_bytes(rows_table(columns))))
    assert table.to_pydict() == {"action": [[1, 2], [3, 4]], "index": [7, 8]}
    assert table.schema.field("action").type == pa.list_(pa.float32(), 2)


def test_counters_carry_on_from_the_episode_before():
    columns = counter_columns(length=3, fps=50, episode_index=4, first_index=100, task_index=2)
    assert {name: values[:, 0].tolist() for name, values in columns.items()} == {
        "timestamp": [0, np.float32(0.02), np.float32(0.04)],
        "frame_index": [0, 1, 2],
        "episode_index": [4, 4, 4],
        "index": [100, 101, 102],
        "task_index": [2, 2, 2],
    }


def test_an_episode_says_where_it_lies():
    row = episode_row(
        length=10, fps=50, episode_index=1203, first_index=5000, instruction="lift", cameras=["top"], stats={}
    )
    assert row["tasks"] == ["lift"] and row["dataset_to_index"] == 5010
    assert (row["videos/top/chunk_index"], row["data/file_index"]) == (1, 203)
    assert row["videos/top/to_timestamp"] == 0.2
    assert (row["meta/episodes/chunk_index"], row["meta/episodes/file_index"]) == (0, 12)


def test_instructions_are_numbered_in_order():
    table = tasks_table(["lift", "hand over"])
    assert table.to_pydict() == {"task_index": [0, 1], "task": ["lift", "hand over"]}
