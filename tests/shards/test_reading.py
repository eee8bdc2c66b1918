"""Every way in which weights on disk can be wrong has a message of its own."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from foreact.errors import CheckpointError
from foreact.shards import TensorFolder

WEIGHTS = {
    "a.weight": torch.arange(12.0).reshape(3, 4),
    "a.bias": torch.arange(3.0),
    "b.weight": torch.arange(8).reshape(2, 4).to(torch.bfloat16),
}
SHARDS = {"m-00001-of-00002.safetensors": ("a.weight", "a.bias"), "m-00002-of-00002.safetensors": ("b.weight",)}
INDEX = "m.safetensors.index.json"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    for file, names in SHARDS.items():
        save_file({name: WEIGHTS[name] for name in names}, tmp_path / file)
    places = {name: file for file, names in SHARDS.items() for name in names}
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {"total_size": 76}, "weight_map": places}))
    return tmp_path


def open_folder(folder: Path) -> TensorFolder:
    return TensorFolder.open(folder, stem="m", what="toy")


def change_index(folder: Path, change) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


def assert_holds_everything(folder: TensorFolder) -> None:
    read = dict(folder.items())
    assert set(folder.names) == set(read) == set(WEIGHTS)
    for name, expected in WEIGHTS.items():
        assert torch.equal(read[name], expected)
        assert read[name].dtype == folder.dtype(name) == expected.dtype
        assert folder.shape(name) == tuple(expected.shape)
        assert torch.equal(folder.read(name), expected)


def test_shards_are_one_network(sharded: Path) -> None:
    folder = open_folder(sharded)
    assert_holds_everything(folder)
    assert [path.name for path in folder.shards] == list(SHARDS)
    assert folder.num_bytes == 12 * 4 + 3 * 4 + 8 * 2
    assert folder.largest_shard_bytes == 12 * 4 + 3 * 4


def test_so_is_a_single_file(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "m.safetensors")
    folder = open_folder(tmp_path)
    assert_holds_everything(folder)
    assert folder.largest_shard_bytes == folder.num_bytes


def test_items_come_shard_by_shard_and_as_memory_of_their_own(sharded: Path) -> None:
    places = {name: number for number, names in enumerate(SHARDS.values()) for name in names}
    order = [places[name] for name, _ in open_folder(sharded).items()]
    assert order == sorted(order)
    open_folder(sharded).read("a.bias").add_(1)
    assert torch.equal(open_folder(sharded).read("a.bias"), WEIGHTS["a.bias"])


def test_opening_reads_no_tensor(sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self, name: str) -> Tensor:
        raise AssertionError("read")

    monkeypatch.setattr(TensorFolder, "read", refuse)
    folder = open_folder(sharded)
    assert folder.shape("a.weight") == (3, 4)
    with pytest.raises(AssertionError, match="read"):
        next(folder.items())


def refused(folder: Path, *named: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_folder(folder)
    for words in named:
        assert words in str(caught.value)
    return str(caught.value)


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "none", "toy", "no folder", "none", "m.safetensors")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    refused(tmp_path, str(tmp_path), "empty folder", INDEX)
    (tmp_path / "other.safetensors").touch()
    refused(tmp_path, "got: other.safetensors")


def test_two_sets_of_weights_are_refused(sharded: Path) -> None:
    save_file(WEIGHTS, sharded / "m.safetensors")
    refused(sharded, "both m.safetensors and " + INDEX)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "m-00002-of-00002.safetensors").unlink()
    refused(sharded, "no file m-00002-of-00002.safetensors", "all 2 shards")


@pytest.mark.parametrize("text", ["{", "", "\xff\xfe"])
def test_an_index_that_is_no_json_is_named(sharded: Path, text: str) -> None:
    (sharded / INDEX).write_bytes(text.encode("latin-1"))
    refused(sharded, INDEX, "allowed: JSON")


def test_an_index_of_gigabytes_is_not_read(sharded: Path) -> None:
    with (sharded / INDEX).open("r+b") as file:
        file.truncate(4 * 2**30)
    refused(sharded, INDEX, "4294967296 bytes")


@pytest.mark.parametrize("index", [[], {}, {"weight_map": {}}, {"weight_map": ["a"]}])
def test_an_index_without_a_table_is_named(sharded: Path, index: object) -> None:
    (sharded / INDEX).write_text(json.dumps(index))
    refused(sharded, INDEX, "no weight_map")


@pytest.mark.parametrize("file", ["../m-00001-of-00002.safetensors", "/etc/passwd", "m.bin", 3, ""])
def test_an_index_names_only_files_beside_it(sharded: Path, file: object) -> None:
    change_index(sharded, lambda places: places.update({"a.bias": file}))
    refused(sharded, INDEX, repr(file))


def test_a_tensor_that_its_shard_lacks_is_named(sharded: Path) -> None:
    change_index(sharded, lambda places: places.update({"c.weight": "m-00002-of-00002.safetensors"}))
    refused(sharded, "m-00002-of-00002.safetensors", "lacks c.weight")


def test_a_tensor_that_is_not_in_the_index_is_named(sharded: Path) -> None:
    change_index(sharded, lambda places: places.pop("a.bias"))
    refused(sharded, "m-00001-of-00002.safetensors", "does not list a.bias")


@pytest.mark.parametrize("size", [0, 4, 40, 100, -1])
def test_a_truncated_file_is_named(sharded: Path, size: int) -> None:
    shard = sharded / "m-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:size])
    refused(sharded, str(shard), "truncated")


def test_a_file_truncated_after_it_was_opened_is_named(sharded: Path) -> None:
    folder = open_folder(sharded)
    shard = sharded / "m-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"tensor a\.bias of the toy.*has changed"):
        folder.read("a.bias")


def test_values_of_an_unknown_type_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, dtype=torch.complex64)}, tmp_path / "m.safetensors")
    refused(tmp_path, "got: C64", "F32, F16, BF16")


def test_an_unknown_tensor_is_an_error(sharded: Path) -> None:
    for ask in (TensorFolder.shape, TensorFolder.dtype, TensorFolder.read):
        with pytest.raises(CheckpointError, match=r"got: 'c'; allowed: a\.bias, a\.weight, b\.weight"):
            ask(open_folder(sharded), "c")


def test_pickles_are_refused_and_the_way_out_works(tmp_path: Path) -> None:
    """The lines in the message convert them."""
    transposed = WEIGHTS | {"a.weight": WEIGHTS["a.weight"].T.contiguous().T}
    torch.save({name: transposed[name] for name in ("a.weight", "a.bias")}, tmp_path / "pytorch_model-1.bin")
    torch.save({"b.weight": transposed["b.weight"]}, tmp_path / "pytorch_model-2.bin")
    message = refused(tmp_path, "pytorch_model-1.bin, pytorch_model-2.bin", "can run code", "weights_only=True")
    lines = re.search(r"^import torch$.*", message, re.DOTALL | re.MULTILINE)
    assert lines is not None
    exec(lines.group(), {})
    assert_holds_everything(open_folder(tmp_path))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin"])
def test_every_kind_of_pickle_is_known(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"model{suffix}").touch()
    refused(tmp_path, f"model{suffix}: pickles")


def test_a_git_lfs_pointer_is_recognised(sharded: Path) -> None:
    next(sharded.glob("*.safetensors")).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(CheckpointError, match=r"git-lfs pointer; fetch .*git lfs pull"):
        TensorFolder.open(sharded, "m", "toy")
