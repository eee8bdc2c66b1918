import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from foreact.codecs.text import HashedWordEncoder, TextEncoder, UMT5Encoder
from foreact.codecs.text_cache import CachedTextEncoder, encoder_key, user_cache
from foreact.errors import CheckpointError, ConfigurationError

GOLDEN = Path(__file__).parents[1] / "golden" / "side_by_side"
WORDS = "pick up the red block and place it in the bowl"


def cached(folder: Path, make_encoder=HashedWordEncoder, *, key: str = "k", dim: int = 64, keep: bool = True):
    return CachedTextEncoder(make_encoder, folder=folder, key=key, dim=dim, keep=keep)


def never() -> TextEncoder:
    raise AssertionError("the encoder was built")


class Counting:
    """Counts how often the encoder is built and asked."""

    def __init__(self):
        self.num_built, self.asked = 0, []

    def __call__(self) -> "Counting":
        self.num_built += 1
        return self

    dim = 64

    def encode(self, instructions: list[str]):
        self.asked += instructions
        return HashedWordEncoder().encode(instructions)


def same(one, other) -> bool:
    return torch.equal(one.tokens, other.tokens) and torch.equal(one.lengths, other.lengths)


def test_umt5_cached_is_umt5_exactly(tmp_path):
    pytest.importorskip("transformers")
    folders = (GOLDEN / "text_encoder", GOLDEN / "tokenizer")
    direct = UMT5Encoder.from_pretrained(*folders)
    key, dim = encoder_key(*folders), UMT5Encoder.read_dim(folders[0])
    first = cached(tmp_path, lambda: direct, key=key, dim=dim)
    for instruction in (WORDS, ""):
        assert same(first.encode([instruction]), direct.encode([instruction]))
        assert same(cached(tmp_path, never, key=key, dim=dim).encode([instruction]), direct.encode([instruction]))
    trace = load_file(GOLDEN / "trace.safetensors")
    wanted = torch.cat([trace["text.positive"], trace["text.negative"]])
    got = cached(tmp_path, never, key=key, dim=dim).encode([WORDS, ""])
    assert got.tokens.shape == wanted.shape == (2, 512, 48)
    assert (got.tokens - wanted).norm() < 1e-4 * wanted.norm()


def test_padding_is_not_stored(tmp_path):
    encoder = cached(tmp_path)
    encoder.encode(["lift the cube"])
    assert load_file(encoder.path("lift the cube"))["tokens"].shape == (3, 64)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from(["lift", "the", "lift the cube", "", "Ünïcode / ..\\", "a\0b"]), max_size=4))
def test_any_batch_is_what_the_encoder_gives(tmp_path_factory, instructions):
    folder = tmp_path_factory.mktemp("cache")
    for encoder in (cached(folder), cached(folder, never)):
        got, wanted = encoder.encode(instructions), HashedWordEncoder().encode(instructions)
        assert torch.equal(got.lengths, wanted.lengths)
        assert not instructions or torch.equal(got.tokens, wanted.tokens)


def test_built_when_needed_and_kept_or_let_go(tmp_path):
    for keep, num_built in ((True, 1), (False, 2)):
        counting = Counting()
        encoder = cached(tmp_path / str(keep), counting, keep=keep)
        assert isinstance(encoder, TextEncoder) and encoder.dim == 64 and counting.num_built == 0
        encoder.encode(["one", "two", "one"])
        assert counting.asked == ["one", "two"]
        encoder.encode(["two", "three"])
        encoder.encode(["one", "three"])
        assert counting.asked == ["one", "two", "three"] and counting.num_built == num_built


def test_another_key_is_another_embedding(tmp_path):
    cached(tmp_path).encode(["lift"])
    counting = Counting()
    cached(tmp_path, counting, key="other").encode(["lift"])
    assert counting.num_built == 1


def test_an_encoder_of_another_width_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="width of the text encoder; got: 64; allowed: 32"):
        cached(tmp_path, dim=32).encode(["lift"])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    save_file({"tokens": torch.ones(3, 64)}, path)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, foreign])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    wanted = cached(tmp_path).encode(["lift the cube"])
    damage(cached(tmp_path).path("lift the cube"))
    counting = Counting()
    assert same(cached(tmp_path, counting).encode(["lift the cube"]), wanted)
    assert counting.num_built == 1
    assert same(cached(tmp_path, never).encode(["lift the cube"]), wanted)


def test_a_folder_that_cannot_be_written_only_warns(tmp_path):
    (tmp_path / "file").touch()
    encoder = cached(tmp_path / "file" / "below")
    with pytest.warns(UserWarning, match="instructions cannot be kept in"):
        assert same(encoder.encode(["lift"]), HashedWordEncoder().encode(["lift"]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_only_warns(tmp_path):
    cached(tmp_path).encode(["lift"])
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    cached(tmp_path, never).encode(["lift"])
    with pytest.warns(UserWarning, match="instructions cannot be kept in"):
        cached(tmp_path).encode(["drop"])


def test_threads_share_a_folder(tmp_path):
    instructions = [f"lift cube {n}" for n in range(8)]
    start = threading.Barrier(8)

    def encode(_: int):
        start.wait()
        return cached(tmp_path).encode(instructions)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(encode, range(8)))
    wanted = HashedWordEncoder().encode(instructions)
    assert all(same(result, wanted) for result in results)
    assert same(cached(tmp_path, never).encode(instructions), wanted)
    assert len(list(tmp_path.iterdir())) == 8


def encode_in_process(folder: Path) -> None:
    cached(folder).encode([f"lift cube {n}" for n in range(8)])


def test_processes_share_a_folder(tmp_path):
    processes = [get_context("fork").Process(target=encode_in_process, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    encode = cached(tmp_path, never).encode
    assert encode([f"lift cube {n}" for n in range(8)]).lengths.tolist() == [3] * 8
    assert len(list(tmp_path.iterdir())) == 8


def test_a_key_changes_with_names_sizes_ends_and_settings(tmp_path):
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    weights = folder / "model.safetensors"
    weights.write_bytes(bytes(200_000))
    key = encoder_key(folder)
    assert encoder_key(folder) == key != encoder_key(folder, settings="bfloat16")
    for content in (bytes(200_001), b"1" + bytes(199_999), bytes(199_999) + b"1"):
        weights.write_bytes(content)
        assert encoder_key(folder) != key
    weights.write_bytes(bytes(200_000))
    assert encoder_key(folder) == key
    (folder / "config.json").write_text('{"d_model": 1}')
    assert encoder_key(folder) != key
    with pytest.raises(CheckpointError, match=r"text encoder; got: .*absent"):
        encoder_key(tmp_path / "absent")


def test_where_instructions_are_kept(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert user_cache() == Path("/somewhere/foreact/instructions")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache() == Path.home() / ".cache" / "foreact" / "instructions"
