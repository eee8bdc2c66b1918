"""Weights of another network are refused by what differs, before anything is made of them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from foreact.errors import CheckpointError
from foreact.shards import TensorFolder
from foreact.transformer.derivation import plan_derivation
from foreact.transformer.model import TransformerConfig
from foreact.transformer.source_fit import network_shapes

GOLDEN = Path(__file__).parents[1] / "golden" / "side_by_side" / "transformer"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def config(**changes) -> TransformerConfig:
    sizes = {"video_width": 64, "num_layers": 2, "num_heads": 2, "video_ffn_dim": 160, "text_dim": 48}
    return TransformerConfig(**({"action_width": 32, "action_ffn_dim": 48} | sizes | changes))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("config.json", WEIGHTS):
        shutil.copyfile(GOLDEN / name, tmp_path / name)
    return tmp_path


def refused(folder: Path, settings: TransformerConfig, *named: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        plan_derivation(TensorFolder.open(folder), settings)
    for words in named:
        assert words in str(caught.value)


def test_shapes_are_those_of_the_network_at_any_size() -> None:
    shapes = network_shapes(TransformerConfig())
    assert shapes["video.blocks.29.ffn_in.weight"] == (14336, 3072)


@pytest.mark.parametrize(
    ("change", "got", "allowed"),
    [
        ({"video_width": 128}, "video_width 64", "video_width 128"),
        ({"video_ffn_dim": 96}, "video_ffn_dim 160", "video_ffn_dim 96"),
        ({"num_layers": 1}, "num_layers 2", "num_layers 1"),
        ({"num_layers": 3}, "num_layers 2", "num_layers 3"),
        ({"text_dim": 64}, "text_dim 48", "text_dim 64"),
        ({"frequency_dim": 128}, "frequency_dim 256", "frequency_dim 128"),
        ({"latent_channels": 16}, "patch_features 192", "patch_features 64"),
        ({"action_channels": 14}, "action_channels 30", "action_channels 14"),
        ({"num_heads": 4}, "num_heads 2", "num_heads 4"),
        ({"eps": 1e-5}, "eps 1e-06", "eps 1e-05"),
    ],
)
def test_another_size_is_named_by_its_setting(source: Path, change: dict, got: str, allowed: str) -> None:
    refused(source, config(**change), f"got: {got};", f"allowed: {allowed};", "choose the preset")


@pytest.mark.parametrize(
    ("text", "named"),
    [(None, "FileNotFoundError"), ("{", "JSONDecodeError"), ("{}", "patch_size"), ("[]", "TypeError")],
)
def test_settings_belong_to_the_weights(source: Path, text: str | None, named: str) -> None:
    (source / "config.json").unlink()
    if text is not None:
        (source / "config.json").write_text(text)
    refused(source, config(), str(source / "config.json"), named)


def test_another_patch_is_refused(source: Path) -> None:
    stored = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(stored | {"patch_size": [2, 2, 2]}))
    refused(source, config(), "patch_size", "got: [2, 2, 2]; allowed: [1, 2, 2]")


def test_a_tensor_of_another_shape_is_named_as_it_is_called_there(source: Path) -> None:
    weights = load_file(source / WEIGHTS)
    name = "blocks.1.attn1.to_q.weight"
    save_file(weights | {name: torch.zeros(64, 32)}, source / WEIGHTS)
    refused(source, config(), f"wrong shape: {name} [64, 32] where [64, 64] is allowed")


def test_a_missing_tensor_is_named_as_it_is_called_there(source: Path) -> None:
    weights = load_file(source / WEIGHTS)
    del weights["blocks.1.ffn.net.2.bias"]
    save_file(weights, source / WEIGHTS)
    refused(source, config(), "missing: blocks.1.ffn.net.2.bias")


def test_a_tensor_that_no_layer_has_is_named(source: Path) -> None:
    weights = load_file(source / WEIGHTS)
    save_file(weights | {"blocks.1.attn1.norm_q.bias": torch.zeros(64)}, source / WEIGHTS)
    refused(source, config(), "unknown: blocks.1.attn1.norm_q.bias")
