import builtins
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from foreact.codecs.text import HashedWordEncoder, TextEncoder, UMT5Encoder
from foreact.errors import CheckpointError, ConfigurationError, install_command

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDERS = (GOLDEN / "side_by_side" / "text_encoder", GOLDEN / "side_by_side" / "tokenizer")
ENCODER = HashedWordEncoder(dim=16, max_length=6)


def test_the_numbers_are_the_same_on_every_machine():
    tokens = HashedWordEncoder().encode(["lift the red cube"]).tokens
    digest = hashlib.sha256((tokens * 1000).round().to(torch.int16).numpy().tobytes()).hexdigest()
    assert digest[:16] == "3d8e362d936677d8"


def test_words_are_unit_vectors_and_places_shift_them():
    encoder = HashedWordEncoder(dim=64)
    tokens = encoder.encode(["cube cube", "bin cube"]).tokens
    place = tokens[0, 1] - tokens[0, 0]
    torch.testing.assert_close(tokens[1, 1], tokens[0, 1])
    assert 0 < place.norm() < 1
    word = tokens[0, 0] - torch.cat([torch.zeros(32), torch.full((32,), 0.5 / 32**0.5)])
    assert word.norm().item() == pytest.approx(1, abs=1e-5)


def test_different_words_are_nearly_orthogonal():
    tokens = HashedWordEncoder(dim=256).encode(["lift", "transfer", "left", "right", "red", "blue"]).tokens[:, 0]
    place = torch.cat([torch.zeros(128), torch.full((128,), 0.5 / 128**0.5)])
    products = (tokens - place) @ (tokens - place).T
    assert (products - torch.eye(6)).abs().max() < 0.3


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_zeros_after_each_instructions_own_tokens(instructions: list[str]):
    embedding = ENCODER.encode(instructions)
    assert embedding.tokens.shape == (len(instructions), 6, 16)
    own = torch.arange(6) < embedding.lengths[:, None]
    assert torch.equal(embedding.tokens.norm(dim=-1) > 0, own)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["lift", "the", "cube", "bin"]), max_size=6))
def test_case_and_punctuation_do_not_matter(words: list[str]):
    plain, dressed = " ".join(words), ", ".join(word.upper() for word in words) + "!"
    assert torch.equal(ENCODER.encode([plain]).tokens, ENCODER.encode([dressed]).tokens)


def test_word_order_matters():
    one, other = ENCODER.encode(["bin on cube", "cube on bin"]).tokens
    assert not torch.equal(one, other)


def test_an_empty_instruction_has_no_tokens():
    embedding = ENCODER.encode(["", "lift"])
    assert embedding.lengths.tolist() == [0, 1]
    assert embedding.tokens[0].abs().sum() == 0


def test_a_long_instruction_is_cut():
    assert ENCODER.encode(["one two three four five six seven eight"]).lengths.tolist() == [6]


@pytest.mark.parametrize("settings_", [{"dim": 0}, {"dim": 7}, {"max_length": 0}])
def test_impossible_settings_are_refused(settings_: dict):
    with pytest.raises(ConfigurationError, match=next(iter(settings_))):
        HashedWordEncoder(**settings_)


def test_both_encoders_have_one_interface():
    assert isinstance(ENCODER, TextEncoder)
    umt5 = UMT5Encoder(torch.nn.Linear(1, 1), tokenizer=None, length=8)
    umt5._network.config = SimpleNamespace(d_model=4096)
    assert isinstance(umt5, TextEncoder)
    assert umt5.dim == 4096


@pytest.mark.parametrize("layout", ["side_by_side", "t_shape"])
def test_umt5_reproduces_the_published_embeddings(layout: str):
    pytest.importorskip("transformers")
    encoder = UMT5Encoder.from_pretrained(GOLDEN / layout / "text_encoder", GOLDEN / layout / "tokenizer")
    trace = load_file(GOLDEN / layout / "trace.safetensors")
    embedding = encoder.encode(["pick up the red block and place it in the bowl", ""])
    wanted = torch.cat([trace["text.positive"], trace["text.negative"]])
    assert encoder.dim == wanted.shape[-1]
    assert (embedding.tokens - wanted).norm() < 1e-4 * wanted.norm()
    assert embedding.lengths.tolist() == [(row.norm(dim=-1) > 0).sum().item() for row in wanted]


def test_umt5_without_transformers_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    true_import = builtins.__import__

    def absent(name: str, *args, **kwargs):
        if name == "transformers":
            raise ImportError("No module named 'transformers'")
        return true_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigurationError, match=re.escape(install_command("umt5"))):
        UMT5Encoder.from_pretrained("nowhere", "nowhere")


def test_umt5_names_a_missing_folder(tmp_path: Path):
    pytest.importorskip("transformers")
    with pytest.raises(CheckpointError, match="no folder"):
        UMT5Encoder.from_pretrained(tmp_path / "absent", tmp_path)


def test_umt5_refuses_a_folder_of_something_else(tmp_path: Path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="UMT5 text encoder"):
        UMT5Encoder.from_pretrained(tmp_path, tmp_path)


def test_umt5_resolves_entities_and_white_space():
    pytest.importorskip("transformers")
    encoder = UMT5Encoder.from_pretrained(*FOLDERS, length=32)
    plain, dressed = "pick up the red & blue block", "  pick up\n the red &amp;amp; blue   block "
    assert torch.equal(encoder.encode([plain]).tokens, encoder.encode([dressed]).tokens)


def test_umt5_in_another_precision():
    pytest.importorskip("transformers")
    stored = UMT5Encoder.from_pretrained(*FOLDERS, length=16).encode(["pick up the block"])
    half = UMT5Encoder.from_pretrained(*FOLDERS, length=16, dtype=torch.bfloat16, device="cpu")
    assert {weight.dtype for weight in half._network.parameters()} >= {torch.bfloat16}
    embedding = half.encode(["pick up the block"])
    assert embedding.tokens.dtype == torch.float32
    error = (embedding.tokens - stored.tokens).norm() / stored.tokens.norm()
    assert 0 < error < 0.05


def test_umt5_refuses_pickles_and_tells_how_to_convert(tmp_path: Path):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text((FOLDERS[0] / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match=r"pickles.*pytorch_model.bin; allowed: safetensors.*save_pretrained"):
        UMT5Encoder.from_pretrained(tmp_path, FOLDERS[1])


@pytest.mark.parametrize(
    ("name", "value"), [("num_layers", 10**6), ("d_model", 10**9), ("vocab_size", 10**10), ("d_ff", 10**30)]
)
def test_umt5_larger_than_its_files_is_refused_before_it_is_built(tmp_path: Path, name: str, value: int):
    pytest.importorskip("transformers")
    shutil.copytree(FOLDERS[0], tmp_path / "text_encoder")
    config = json.loads((FOLDERS[0] / "config.json").read_text())
    (tmp_path / "text_encoder" / "config.json").write_text(json.dumps(config | {name: value}))
    with pytest.raises(CheckpointError, match=f"UMT5 text encoder in .*got: {name} 10.*the files hold no more"):
        UMT5Encoder.from_pretrained(tmp_path / "text_encoder", FOLDERS[1])


@pytest.mark.parametrize("name", ["text_encoder/config.json", "tokenizer/tokenizer_config.json"])
def test_umt5_does_not_wait_for_a_pipe(tmp_path: Path, name: str):
    pytest.importorskip("transformers")
    for folder in FOLDERS:
        shutil.copytree(folder, tmp_path / folder.name)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match="no regular file"):
        UMT5Encoder.from_pretrained(tmp_path / "text_encoder", tmp_path / "tokenizer")


def test_umt5_tells_its_width_without_loading(tmp_path: Path):
    assert UMT5Encoder.read_dim(FOLDERS[0]) == 48
    with pytest.raises(CheckpointError, match=r"config.json; got: No such file"):
        UMT5Encoder.read_dim(tmp_path)
    for content, details in (
        ("{", "allowed: JSON"),
        ("{}", "d_model .*got: None"),
        ("[]", "got: list; allowed: a table"),
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=details):
            UMT5Encoder.read_dim(tmp_path)
    (tmp_path / "config.json").write_text('{"d_model": "wide"}')
    with pytest.raises(CheckpointError, match=r"d_model in .*got: 'wide'"):
        UMT5Encoder.read_dim(tmp_path)
