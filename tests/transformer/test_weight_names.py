"""Names there and back; that the values are right is shown against diffusers and the golden recordings."""

from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from foreact.errors import CheckpointError
from foreact.shards import TensorFolder, load_strictly
from foreact.transformer.model import WorldActionModel
from foreact.transformer.weight_names import UNUSED, from_published, from_wan, layout_of, to_published

GOLDEN = Path(__file__).parents[1] / "golden" / "side_by_side" / "transformer"
SHARED = {"backbone": "shared", "action_embedding": "linear"}


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return dict(TensorFolder.open(GOLDEN).items())


def golden_model(tiny) -> WorldActionModel:
    sizes = {"latent_channels": 48, "video_width": 64, "action_width": 64, "text_dim": 48, "frequency_dim": 256}
    with torch.device("meta"):
        return WorldActionModel(tiny.sizes(video_ffn_dim=160, action_ffn_dim=160, **sizes, **SHARED))


def small_wan(num_layers: int = 1) -> WanTransformer3DModel:
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 16, "text_dim": 8, "freq_dim": 16}
    return WanTransformer3DModel(
        in_channels=4, out_channels=4, num_layers=num_layers, rope_max_seq_len=8, cross_attn_norm=True, **sizes
    )


def test_published_weights_fill_the_shared_backbone_and_come_back(tiny, published: dict[str, Tensor]) -> None:
    model = golden_model(tiny)
    ours = [pair for name, tensor in published.items() for pair in from_published(name, tensor)]
    load_strictly(model, ours, what="the golden network")
    again = dict(pair for name, tensor in model.state_dict().items() for pair in to_published(name, tensor))
    assert again.keys() == published.keys()
    for name, tensor in again.items():
        expected = published[name.replace("_action", "") if name in UNUSED else name]
        assert torch.equal(tensor, expected), name


def test_only_the_unused_text_layers_are_dropped(published: dict[str, Tensor]) -> None:
    dropped = {name for name, tensor in published.items() if not from_published(name, tensor)}
    assert dropped == set(UNUSED)
    assert all("condition_embedder_action.text_embedder." in name for name in dropped)


def test_no_two_names_become_one(published: dict[str, Tensor]) -> None:
    ours = [pair[0] for name, tensor in published.items() for pair in from_published(name, tensor)]
    assert len(set(ours)) == len(ours) == len(published) - len(UNUSED)


def test_layers_keep_their_numbers() -> None:
    wan = small_wan(num_layers=12).state_dict()
    ours = dict(pair for name, tensor in wan.items() for pair in from_wan(name, tensor))
    assert len(ours) == len(wan)
    assert torch.equal(ours["video.blocks.11.joint.to_q.weight"], wan["blocks.11.attn1.to_q.weight"])
    assert torch.equal(ours["video.blocks.1.text.to_out.bias"], wan["blocks.1.attn2.to_out.0.bias"])


def test_the_head_puts_channels_first() -> None:
    """Wan's output feature of patch row p, column q and channel c, of 4 channels, is number (2p + q) * 4 + c."""
    ((name, bias),) = from_wan("proj_out.bias", torch.arange(16.0))
    assert name == "video.head.bias"
    assert bias.reshape(4, 2, 2)[3, 1, 0] == (2 * 1 + 0) * 4 + 3
    ((_, back),) = to_published(name, bias)
    assert torch.equal(back, torch.arange(16.0))


def test_layouts_are_told_apart(tiny, published: dict[str, Tensor]) -> None:
    assert layout_of(published) == "published"
    assert layout_of(small_wan().state_dict()) == "wan"
    assert layout_of(golden_model(tiny).state_dict()) == "foreact"
    assert layout_of(tiny.model().state_dict()) == "foreact"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "got: none"),
        (["linear.weight"], "got: linear.weight"),
        (["condition_embedder.time_proj.weight"], "got: condition_embedder"),
        (["patch_embedding.weight", "head.head.weight", "blocks.0.self_attn.q.weight"], "ends in -Diffusers"),
    ],
)
def test_other_names_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        layout_of(names)


@pytest.mark.parametrize(
    ("rename", "name", "close"),
    [
        (from_wan, "blocks.0.attn3.to_q.weight", r"blocks\.\*\.attn[12]\.to_q\.weight"),
        (from_wan, "patch_embedding_mlp.weight", "patch_embedding.weight"),
        (from_wan, "blocks.*.norm2.weight.more", "norm2.weight"),
        (from_published, "patch_embedding.weight", "patch_embedding_mlp.weight"),
        (from_published, "condition_embedder_action.image_embedder.weight", "condition_embedder"),
        (to_published, "action.blocks.0.ffn_in.weight", r"video\.blocks\.\*\.ffn_in"),
        (to_published, "action.embed_out.weight", "action.embed"),
    ],
)
def test_an_unknown_name_is_an_error(rename, name: str, close: str) -> None:
    with pytest.raises(CheckpointError, match=close) as caught:
        rename(name, torch.zeros(4, 4))
    assert repr(name) in str(caught.value)
