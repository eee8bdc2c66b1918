"""Counts of weights: at full size, part by part, and what small precisions and adapters act on."""

import pytest
import torch

from foreact.cost.parameters import count_network, count_parameters
from foreact.recipes import get_recipe
from foreact.training.methods import AdapterConfig, freeze
from foreact.transformer.model import TransformerConfig, WorldActionModel

SHARED = {"backbone": "shared", "action_width": 24, "action_ffn_dim": 32, "action_embedding": "linear"}


def test_the_mixture_has_the_published_size():
    counts = count_network(get_recipe("wan5b").transformer)
    assert 4.95e9 < counts.video.total < 5.05e9
    assert 300e6 < counts.action.total < 450e6


def test_the_shared_backbone_has_no_second_set_of_layers():
    counts = count_network(get_recipe("wan5b-shared").transformer)
    assert counts.video == count_network(get_recipe("wan5b").transformer).video
    assert counts.action.joint_attention == counts.action.feed_forward == counts.action.text == 0
    clock = 256 * 3072 + 3072 + 7 * (3072**2 + 3072)
    assert (counts.action.embed, counts.action.time, counts.action.head) == (31 * 3072, clock, 3073 * 30)


@pytest.mark.parametrize("name", ["tiny", "small", "wan5b", "wan5b-shared"])
def test_parts_are_all_the_weights(name):
    config = get_recipe(name).transformer
    with torch.device("meta"):
        whole = count_parameters(WorldActionModel(config))
    counts = count_network(config)
    streams = [dict(vars(stream)) for stream in (counts.video, counts.action)]
    assert counts.total == whole == sum(stream.pop("total") for stream in streams)
    assert whole == sum(sum(stream.values()) for stream in streams)


def test_one_layer_by_hand(tiny):
    config: TransformerConfig = tiny.sizes(num_layers=1)
    video = count_network(config).video
    assert video.embed == 16 * 24 + 24
    assert video.time == (16 * 24 + 24) + (24 * 24 + 24) + (24 * 144 + 144) + 6 * 24
    assert video.text == (8 * 24 + 24) + (24 * 24 + 24)
    assert video.joint_attention == 4 * (24 * 24 + 24) + 2 * 24
    assert video.text_attention == 4 * (24 * 24 + 24) + 2 * 24 + 2 * 24
    assert video.feed_forward == (24 * 32 + 32) + (32 * 24 + 24)
    assert video.head == (24 * 16 + 16) + 2 * 24


def test_matrices_and_adapters_of_one_layer_by_hand(tiny):
    counts = count_network(tiny.sizes(num_layers=1))
    squares = [(24, 24)] * 8 + [(24, 32)] * 2 + [(16, 24)] * 4 + [(16, 16)] * 4 + [(16, 24)] * 2
    assert counts.layer_matrices == sum(a * b for a, b in squares)
    assert counts.lora_trained == counts.action.total + 16 * sum(a + b for a, b in squares[:10])
    assert counts.lora_frozen == counts.video.total


@pytest.mark.parametrize("backbone", [{}, SHARED], ids=["separate", "shared"])
def test_what_adapters_train_is_what_training_does_not_freeze(tiny, backbone):
    counts, model = count_network(tiny.sizes(**backbone)), WorldActionModel(tiny.sizes(**backbone))
    freeze(model, "lora", AdapterConfig())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    frozen = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    assert (counts.lora_trained, counts.lora_frozen) == (trained, frozen)
