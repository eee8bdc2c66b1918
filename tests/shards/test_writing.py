"""What is written is read back, by us and by others; what fails leaves no trace."""

import errno
import json
import stat
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from huggingface_hub import load_torch_model
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from foreact.errors import CheckpointError, ConfigurationError
from foreact.shards import ShardWriter, TensorFolder, writing

KIB = 1024


def kilobytes(count: int, *, fill: float = 1.0) -> Tensor:
    return torch.full((count, KIB // 4), float(fill))


def write(folder: Path, weights: dict[str, Tensor], max_shard_bytes: int) -> TensorFolder:
    with ShardWriter(folder, "model", max_shard_bytes) as writer:
        for name, tensor in weights.items():
            writer.add(name, tensor)
    return TensorFolder.open(folder, stem="model", what="toy")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=8), limit=st.integers(1, 8))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int) -> None:
    weights = {f"layer.{n}": kilobytes(size, fill=n) for n, size in enumerate(sizes)}
    folder = write(tmp_path_factory.mktemp("out"), weights, limit * KIB)
    read = dict(folder.items())
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], weights[name]) for name in weights)
    assert folder.largest_shard_bytes <= max(limit, *sizes, 0) * KIB


def test_one_shard_needs_no_index(tmp_path: Path) -> None:
    write(tmp_path, {"a": kilobytes(1), "b": kilobytes(2)}, 3 * KIB)
    assert set(contents(tmp_path)) == {"model.safetensors"}
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o644


def test_more_have_one_in_hugging_faces_form(tmp_path: Path) -> None:
    write(tmp_path, {"a": kilobytes(1), "b": kilobytes(2), "c": kilobytes(3)}, 3 * KIB)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert set(contents(tmp_path)) == {first, second, "model.safetensors.index.json"}
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index == {"metadata": {"total_size": 6 * KIB}, "weight_map": {"a": first, "b": first, "c": second}}


def test_hugging_faces_own_reader_reads_it(tmp_path: Path) -> None:
    ours, theirs = nn.Linear(16, 16), nn.Linear(16, 16)
    write(tmp_path, dict(ours.state_dict()), 1024)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    load_torch_model(theirs, tmp_path, strict=True)
    assert torch.equal(ours.weight, theirs.weight)


def test_diffusers_reads_it(tmp_path: Path) -> None:
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 1, "ffn_dim": 16, "text_dim": 8}
    wan = WanTransformer3DModel(in_channels=4, out_channels=4, freq_dim=16, rope_max_seq_len=8, **sizes)
    with ShardWriter(tmp_path, "diffusion_pytorch_model", 8 * KIB) as writer:
        for name, tensor in wan.state_dict().items():
            writer.add(name, tensor)
    wan.save_config(tmp_path)
    again = WanTransformer3DModel.from_pretrained(tmp_path)
    expected = wan.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "model", KIB) as writer:
        writer.add("a", kilobytes(1))
        writer.close()
    assert TensorFolder.open(tmp_path, "model").names == ("a",)


def test_a_network_without_tensors_is_a_file(tmp_path: Path) -> None:
    assert write(tmp_path, {}, KIB).names == ()


def test_metadata_is_kept(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "model", KIB, metadata={"seed": "3"}) as writer:
        writer.add("a", kilobytes(1))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "seed": "3"}


def test_a_copy_is_taken_and_views_are_written_whole(tmp_path: Path) -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    with ShardWriter(tmp_path, "model", KIB) as writer:
        writer.add("turned", weight.T)
        writer.add("same", weight)
        writer.add("row", weight[0])
        weight.zero_()
    read = dict(TensorFolder.open(tmp_path, "model").items())
    kept = torch.arange(12.0).reshape(3, 4)
    assert torch.equal(read["turned"], kept.T)
    assert torch.equal(read["same"], kept)
    assert torch.equal(read["row"], kept[0])


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 2), (2, 3), (3, 3), (1, 1)])
def test_what_stood_there_is_replaced_altogether(tmp_path: Path, before: int, after: int) -> None:
    (tmp_path / "model-card.md").write_text("kept")
    (tmp_path / "config.json").write_text("{}")
    write(tmp_path, {f"old{n}": kilobytes(1) for n in range(before)}, KIB)
    folder = write(tmp_path, {f"new{n}": kilobytes(1) for n in range(after)}, KIB)
    assert folder.names == tuple(f"new{n}" for n in range(after))
    assert len(contents(tmp_path)) == 2 + (after if after == 1 else after + 1)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path, {"a": kilobytes(1), "b": kilobytes(1)}, KIB)
    before = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path, "model", KIB) as writer:
        for name in "abc":
            writer.add(name, kilobytes(1, fill=2))
        raise KeyboardInterrupt
    assert contents(tmp_path) == before


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path / "new", "model", KIB):
        raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("num_added", [1, 3], ids=["on close", "while adding"])
def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_added: int) -> None:
    def fail(*_, **__) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write(tmp_path, {"a": kilobytes(1)}, KIB)
    before = contents(tmp_path)
    monkeypatch.setattr(writing, "save_file", fail)
    with (
        pytest.raises(CheckpointError, match=r"writing weights to .*No space left"),
        ShardWriter(tmp_path, "model", KIB) as writer,
    ):
        for number in range(num_added):
            writer.add(str(number), kilobytes(1))
    assert contents(tmp_path) == before


def test_files_that_cannot_take_their_names_are_said(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="writing weights"), ShardWriter(tmp_path, "model", KIB) as writer:
        writer.add("a", kilobytes(1))
    assert set(path.name for path in tmp_path.iterdir()) == {"model.safetensors"}


def test_a_name_comes_once(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "model", KIB) as writer:
        writer.add("a", kilobytes(1))
        with pytest.raises(CheckpointError, match=r"tensor a .*two of that name"):
            writer.add("a", kilobytes(1))


@pytest.mark.parametrize("size", [0, -1])
def test_shards_have_a_size(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConfigurationError, match="bytes per shard"):
        ShardWriter(tmp_path / "new", "model", size)
    assert not (tmp_path / "new").exists()
