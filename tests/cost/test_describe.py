"""The whole description: its sums, its JSON, and that nothing large is ever allocated."""

import json
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foreact.cost.describe import describe
from foreact.cost.passes import Past, keep_video
from foreact.cost.subject import subject_of_recipe
from foreact.recipes import get_recipe
from foreact.settings import to_plain


class Largest(TorchDispatchMode):
    """Bytes of the largest tensor made while active, on the meta device and elsewhere."""

    on_meta = elsewhere = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.is_meta:
                self.on_meta = max(self.on_meta, leaf.nbytes)
            elif isinstance(leaf, torch.Tensor):
                self.elsewhere = max(self.elsewhere, leaf.nbytes)
        return result


@pytest.fixture(scope="module")
def wan5b():
    return describe(subject_of_recipe("wan5b", get_recipe("wan5b")))


def test_it_is_plain_data(wan5b):
    plain = json.loads(json.dumps(to_plain(wan5b)))
    assert plain["network"]["video"]["total"] == wan5b.network.video.total
    assert plain["chunks"][1]["history_frames"] == 72
    assert [run["precision"] for run in plain["run"]] == ["float32", "bfloat16", "int8", "fp8"]
    assert len(plain["training"]["memory"]) == 6


def test_lengths(wan5b):
    tokens = wan5b.tokens
    assert (tokens.video_per_latent_frame, tokens.action_per_latent_frame) == (120, 16)
    assert (tokens.per_chunk, tokens.per_window) == (2 * 136, 72 * 136)
    assert (tokens.chunk_s, tokens.window_s) == (pytest.approx(0.64), pytest.approx(23.04))
    assert wan5b.training.tokens_per_sequence == (72 + 71) * 136


@pytest.mark.parametrize("part", ["flops", "num_bytes", "floor_ms"])
def test_a_chunk_is_the_sum_of_its_schedule(wan5b, part):
    subject = subject_of_recipe("wan5b", get_recipe("wan5b"))
    config, past = subject.transformer, Past(history_frames=1, text_tokens=subject.text_tokens)
    for chunk in wan5b.chunks:
        cost = {name: getattr(value, part) for name, value in vars(chunk).items() if name != "history_frames"}
        kept = getattr(keep_video(config, replace(past, history_frames=chunk.history_frames), rows=2, frames=2), part)
        assert cost["imagine"] == pytest.approx(25 * cost["video_step_guided"] + kept)
        assert cost["decode_actions"] == pytest.approx(50 * cost["action_step"])
        four = cost["imagine"] + cost["decode_actions"] + cost["append"] + cost["encode"]
        assert cost["total"] == pytest.approx(four)


def test_the_full_size_is_described_without_making_it():
    with Largest() as largest:
        describe(subject_of_recipe("wan5b", get_recipe("wan5b")))
    assert largest.on_meta > 1e8, "the network's largest tensors were met"
    assert largest.elsewhere < 1e6


def test_a_training_step_is_three_forwards_of_its_global_batch():
    subject = subject_of_recipe("small", get_recipe("small"))
    assert subject.batch is not None
    three = replace(subject, batch=replace(subject.batch, global_batch=3))
    flops = describe(three).training.flops_per_step
    tokens, parameters = 3 * (64 + 63) * 112, 155.8e6
    assert flops == pytest.approx(6 * tokens * parameters, rel=0.4), "six operations a weight and token, and attention"


def test_small_trains_on_16_gb_and_wan5b_with_adapters_on_80(wan5b):
    small = describe(subject_of_recipe("small", get_recipe("small")))
    assert 140e6 < small.network.total < 160e6
    assert small.training.memory[0].total < 0.95 * 16e9
    adapters = wan5b.training.memory[-1]
    assert (adapters.method, adapters.checkpointing) == ("LoRA", True)
    assert adapters.total < 0.6 * 80e9


def test_a_window_of_one_frame_is_described_once():
    subject = subject_of_recipe("tiny", get_recipe("tiny"))
    one = describe(replace(subject, inference=replace(subject.inference, window=1), batch=None))
    assert [chunk.history_frames for chunk in one.chunks] == [1]
    assert one.training is None
