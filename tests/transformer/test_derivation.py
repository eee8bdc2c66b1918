"""Streamed tensor by tensor, a new network is what it would have been had all of it been in memory."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from foreact.errors import CheckpointError
from foreact.shards import TensorFolder, load_strictly
from foreact.transformer.derivation import plan_derivation
from foreact.transformer.initialization import derive_action_stream, resize_weight
from foreact.transformer.model import TransformerConfig, WorldActionModel
from foreact.transformer.weight_names import from_published, from_wan

GOLDEN = Path(__file__).parents[1] / "golden" / "side_by_side" / "transformer"
WIDE = {"video_width": 96, "action_width": 48, "video_ffn_dim": 160, "action_ffn_dim": 64}


def golden_config(**changes) -> TransformerConfig:
    """Of the separate network that the golden shared backbone (width 64, two heads) can become."""
    sizes = {"video_width": 64, "action_width": 32, "num_layers": 2, "num_heads": 2, "video_ffn_dim": 160}
    return TransformerConfig(action_ffn_dim=48, text_dim=48, **(sizes | changes))


def shared(config: TransformerConfig) -> TransformerConfig:
    width, ffn_dim = config.video_width, config.video_ffn_dim
    return replace(config, backbone="shared", action_embedding="linear", action_width=width, action_ffn_dim=ffn_dim)


def published() -> dict[str, Tensor]:
    """The golden weights under our names."""
    return dict(p for name, value in TensorFolder.open(GOLDEN).items() for p in from_published(name, value))


def derived(folder: Path, config: TransformerConfig, seed: int = 0) -> dict[str, Tensor]:
    tensors = list(plan_derivation(TensorFolder.open(folder), config).tensors(seed=seed))
    assert len(dict(tensors)) == len(tensors)
    return dict(tensors)


@pytest.fixture(scope="module")
def wan_folder(tiny, oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wan")
    oracle.random(tiny.sizes(**WIDE)).save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 3
    return folder


@pytest.mark.parametrize("projection", ["direct", "factorized"])
def test_from_wan_it_is_what_derivation_in_memory_gives(tiny, oracle, wan_folder: Path, projection: str) -> None:
    config = tiny.sizes(**WIDE, action_projection=projection)
    streamed = derived(wan_folder, config)
    model = WorldActionModel(config)
    assert streamed.keys() == model.state_dict().keys()
    load_strictly(model, streamed.items(), what="streamed")
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    video = dict(p for name, value in oracle.random(config).state_dict().items() for p in from_wan(name, value))
    model.load_state_dict(video, strict=False)
    derive_action_stream(model, resize_weight)
    for name, value in model.state_dict().items():
        assert torch.equal(value, fresh[name]), name


def test_what_only_actions_have_is_drawn_from_the_seed(tiny, wan_folder: Path) -> None:
    config = tiny.sizes(**WIDE, action_projection="factorized")
    first, again, other = (derived(wan_folder, config, seed) for seed in (3, 3, 4))
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    ends = {f"action.{layer}.weight" for layer in ("embed", "embed_out", "head")}
    ways = {f"action.blocks.{n}.joint.{way}.weight" for n in range(2) for way in ("up", "down")}
    assert differing == ends | ways
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["action.head.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    assert first["action.embed_out.weight"].std().item() == pytest.approx((2 / 96) ** 0.5, rel=0.1)
    assert not first["action.embed.bias"].any()


def test_shards_do_not_matter(tiny, oracle, tmp_path: Path, wan_folder: Path) -> None:
    config = tiny.sizes(**WIDE)
    oracle.random(config).save_pretrained(tmp_path)
    one, many = derived(tmp_path, config), derived(wan_folder, config)
    assert all(torch.equal(one[name], many[name]) for name in many)


def test_derived_layers_keep_their_output_variance(tiny, wan_folder: Path) -> None:
    weights = derived(wan_folder, tiny.sizes(**WIDE))
    generator = torch.Generator().manual_seed(0)
    ratios = []
    for name, weight in weights.items():
        twin = weights.get(name.replace("action.", "video."))
        if name.startswith("action.blocks.") and weight.ndim == 2 and twin is not None and len(weight) > 6:
            inputs = (torch.randn(4000, matrix.shape[1], generator=generator) for matrix in (twin, weight))
            before, after = (x @ matrix.T for x, matrix in zip(inputs, (twin, weight), strict=True))
            ratios.append((after.var() / before.var()).item())
    assert len(ratios) == 2 * 10
    assert all(0.8 < ratio < 1.25 for ratio in ratios)


def test_a_shared_backbone_from_wan_is_the_video_stream_with_ends_for_actions(tiny, oracle, wan_folder: Path) -> None:
    config = shared(tiny.sizes(**WIDE))
    weights = derived(wan_folder, config)
    model = WorldActionModel(config)
    load_strictly(model, weights.items(), what="streamed")
    oracle.assert_same_velocity(model.eval(), oracle.random(config), [0.1, 0.9])
    assert torch.equal(weights["action.time_projection.weight"], weights["video.time_projection.weight"])
    assert weights["action.head.weight"].std().item() == pytest.approx(0.02, rel=0.1)


def test_a_published_backbone_gives_its_video_and_what_it_knows_of_actions() -> None:
    source, config = published(), golden_config(action_embedding="linear")
    weights = derived(GOLDEN, config)
    assert weights.keys() == WorldActionModel(config).state_dict().keys()
    for name, value in weights.items():
        origin = source[name if name in source else name.replace("action.", "video.", 1)]
        assert torch.equal(value, resize_weight(origin, tuple(value.shape))), name
    assert not torch.equal(source["action.time_in.weight"], source["video.time_in.weight"])


def test_a_way_in_of_another_kind_is_drawn() -> None:
    source, weights = published(), derived(GOLDEN, golden_config())
    assert "action.embed_out.weight" in weights
    assert not torch.equal(weights["action.embed.weight"], resize_weight(source["action.embed.weight"], (32, 30)))
    assert torch.equal(weights["action.head.weight"], resize_weight(source["action.head.weight"], (30, 32)))


def test_a_published_backbone_stays_itself() -> None:
    weights, source = derived(GOLDEN, shared(golden_config())), published()
    assert weights.keys() == source.keys()
    assert all(torch.equal(value, source[name]) for name, value in weights.items())


def test_a_network_of_ours_is_no_source(tiny, tmp_path: Path) -> None:
    save_file(tiny.model().state_dict(), tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(CheckpointError, match="a network of foreact's"):
        plan_derivation(TensorFolder.open(tmp_path), tiny.sizes())


def test_a_tensor_too_many_is_named(tmp_path: Path) -> None:
    weights = load_file(GOLDEN / "diffusion_pytorch_model.safetensors")
    weights["blocks.0.attn2.add_k_proj.weight"] = torch.zeros(2, 2)
    save_file(weights, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match=r"blocks\.0\.attn2\.add_k_proj\.weight"):
        plan_derivation(TensorFolder.open(tmp_path), golden_config())
