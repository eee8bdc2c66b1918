"""The formulas against torch's own counter on the real network; on the meta device at full size too."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foreact.codecs.text import TextEmbedding
from foreact.cost.accelerator import NOTHING, cost_of
from foreact.cost.passes import (
    Past,
    action_step,
    append,
    chunk_cost,
    pass_cost,
    read_instruction,
    video_step,
)
from foreact.cost.streams import stream_sizes
from foreact.policy.inference import InferenceConfig, inference_from_plain
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Rollout
from foreact.recipes import get_recipe
from foreact.transformer.attention import CachedAttention
from foreact.transformer.cache import KVCache
from foreact.transformer.joint_layer import TextTokens
from foreact.transformer.model import TextContext, TransformerConfig, WorldActionModel
from foreact.transformer.positions import RotaryTable
from foreact.transformer.tokens import StreamInput

WORDS = 3


def counted(work) -> int:
    """Operations that torch counts; of attention it counts those of the plain kernel only."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def text_tokens(config: TransformerConfig) -> int:
    return WORDS + (config.text_length > WORDS)


def embedding(config: TransformerConfig) -> TextEmbedding:
    return TextEmbedding(torch.zeros(1, 8, config.text_dim), torch.tensor([WORDS]))


class Bench:
    """A predictor whose cache holds some observed latent frames."""

    def __init__(self, model: WorldActionModel, inference: InferenceConfig):
        self.config = model.config
        self.predictor = Predictor(model, inference, torch.ones(self.config.action_channels, dtype=torch.bool))
        self.rollout = self.start()

    def start(self) -> Rollout:
        text = embedding(self.config)
        return self.predictor.start(text, text, seed=0)

    def observe(self, frames: int) -> None:
        latents = torch.zeros(self.config.latent_channels, frames, *self.config.canvas)
        actions = torch.zeros(frames, self.config.actions_per_latent_frame, self.config.action_channels)
        self.predictor.append_observed(self.rollout, latents, actions)


SHARED = {"backbone": "shared", "action_width": 24, "action_ffn_dim": 32, "action_embedding": "linear"}
NETWORKS = {
    "separate": {},
    "factorized": {"action_projection": "factorized"},
    "shared": SHARED,
    "padded text": {"text_length": 8},
    "wide": {"canvas": (4, 8), "num_layers": 3, "action_ffn_dim": 40},
}
SCHEDULES = {
    "plain": {},
    "guided video": {"video_guidance": 5.0},
    "guided actions": {"action_guidance": 2.0},
    "both guided": {"video_guidance": 5.0, "action_guidance": 2.0},
    "stopped": {"video_steps": 3, "s_stop": 0.6},
    "executed": {"video_steps": 5, "video_steps_executed": 2, "video_guidance": 5.0},
    "no video steps": {"video_steps": 0, "s_stop": 0.0},
    "reactive": {"imagines": False},
}


PAIRS = [*((network, "both guided") for network in NETWORKS), *(("separate", schedule) for schedule in SCHEDULES)]


@pytest.mark.parametrize(("network", "schedule"), PAIRS)
def test_a_chunk_costs_what_torch_counts(tiny, network, schedule):
    model = WorldActionModel(tiny.sizes(**NETWORKS[network])).eval()
    settings = {"latent_frames_per_chunk": 2, "window": 3, "video_steps": 2, "action_steps": 2}
    inference = inference_from_plain(settings | SCHEDULES[schedule])
    bench = Bench(model, inference)
    bench.observe(1)
    bench.observe(1)
    past = Past(history_frames=2, text_tokens=text_tokens(model.config))
    cost = chunk_cost(model.config, inference, past, NOTHING)
    assert counted(lambda: bench.predictor.predict(bench.rollout)) == (cost.imagine + cost.decode_actions).flops
    assert counted(lambda: bench.observe(2)) == cost.append.flops
    instruction = read_instruction(model.config, rows=inference.rows, text_tokens=past.text_tokens)
    extra = instruction if inference.rows == 1 else read_instruction(model.config, rows=3, text_tokens=past.text_tokens)
    assert counted(bench.start) == extra.flops, "the conditional row is read twice under guidance"
    assert cost.total.flops == cost.imagine.flops + cost.decode_actions.flops + cost.append.flops


@pytest.mark.parametrize("name", ["small", "wan5b", "wan5b-shared"])
def test_the_formulas_hold_at_full_size(name):
    """The real network on the meta device, a video step under guidance and an action step, with a long history."""
    recipe = get_recipe(name)
    config = replace(recipe.transformer, num_layers=3)
    frames, past = recipe.inference.latent_frames_per_chunk, Past(history_frames=30, text_tokens=21)
    with torch.device("meta"):
        model = WorldActionModel(config)
        cache = full_cache(config, past.history_frames, frames)
        text = meta_text(model, past.text_tokens)
        streams = [meta_input(model, kind, frames) for kind in ("video", "action")]
        attention = CachedAttention(cache)
        assert counted(lambda: model(streams[0], None, text, attention)) == (
            video_step(config, past, rows=2, frames=frames).flops
        )
        cache.append_imagined(frames * config.video_tokens)
        assert counted(lambda: model(None, streams[1], text, attention)) == (
            action_step(config, past, rows=2, frames=frames).flops
        )
        cache.drop_imagined()
        appended = append(config, past, rows=2, frames=frames)
        assert counted(lambda: model(*streams, text, attention, num_wanted=(0, 0))) == appended.flops


def full_cache(config: TransformerConfig, window: int, frames: int) -> KVCache:
    cache = KVCache(
        num_layers=config.num_layers,
        batch=2,
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        window=window,
        video_tokens=config.video_tokens,
        action_tokens=config.actions_per_latent_frame,
        scratch_frames=frames,
        device=torch.device("meta"),
    )
    cache.num_observed = window
    return cache


def meta_text(model: WorldActionModel, length: int) -> TextContext:
    tokens, bias = torch.empty(2, length, model.config.text_dim), torch.empty(2, 1, 1, length)
    return TextContext(*(stream.read_text(TextTokens(tokens, bias)) for stream in (model.video, model.action_layers)))


def meta_input(model: WorldActionModel, kind: str, frames: int) -> StreamInput:
    sizes = stream_sizes(model.config, "video" if kind == "video" else "action")
    half_head = model.config.head_dim // 2
    return StreamInput(
        values=torch.empty(2, frames, sizes.tokens, sizes.features),
        flow_time=torch.empty(2, 1),
        rotary=RotaryTable(torch.empty(frames, sizes.tokens, half_head, dtype=torch.complex64)),
    )


KNOWN_FLOORS_MS = {
    # (counts, history): video step guided, video step, action step shared, action step of a stream of its own
    ("robotwin", 30): (6.3, 3.4, 3.4, 0.8),
    ("robotwin", 72): (7.5, 4.1, 4.1, 1.5),
    ("paper", 30): (21.7, 10.8, 3.7, 1.1),
    ("paper", 72): (27.6, 13.8, 4.7, 2.1),
}
"""Worked out apart from this program: 790 TFLOP/s, 3.0 TB/s, one key for the whole instruction."""
COUNTS = {"robotwin": ({}, 2), "paper": ({"canvas": (24, 32), "actions_per_latent_frame": 4}, 4)}


@pytest.mark.parametrize(("counts", "history"), KNOWN_FLOORS_MS)
def test_floors_agree_with_others(counts, history):
    changes, frames = COUNTS[counts]
    own, shared = (replace(get_recipe(name).transformer, **changes) for name in ("wan5b", "wan5b-shared"))
    past = Past(history_frames=history, text_tokens=21)
    computed = (
        video_step(own, past, rows=2, frames=frames),
        video_step(own, past, rows=1, frames=frames),
        action_step(shared, past, rows=1, frames=frames),
        action_step(own, past, rows=1, frames=frames),
    )
    assert [cost.floor_ms for cost in computed] == pytest.approx(KNOWN_FLOORS_MS[counts, history], rel=0.04, abs=0.05)


def test_a_pass_is_bound_by_what_takes_longer():
    assert cost_of(790_000_000_000, 3).floor_ms == pytest.approx(1)
    assert cost_of(790, 3_000_000_000).floor_ms == pytest.approx(1)
    two = cost_of(790_000_000_000, 0) + cost_of(0, 3_000_000_000) * 2
    assert (two.flops, two.num_bytes, two.floor_ms) == (790_000_000_000, 6_000_000_000, pytest.approx(3))


def test_bytes_of_a_pass_are_its_weights_and_its_keys_and_values(tiny):
    """Counted on the network: all weights but those that read the instruction, keys and values in and out."""
    config = tiny.sizes()
    model, past = WorldActionModel(config), Past(history_frames=3, text_tokens=5)
    unread = ("text_in", "text_out", "text.to_k", "text.to_v")
    matrices = [
        module.weight.numel()
        for part in (model.video, *model.video.blocks)
        for name, module in part.named_modules()
        if isinstance(module, torch.nn.Linear) and not any(word in name for word in unread)
    ]
    cache = (
        2 * 2 * 2 * 24 * (3 * 8 + 2 * 4 + 5 + 2 * 4)
    )  # 2 rows, 2 layers, keys and values: history, own, words, written
    assert video_step(config, past, rows=2, frames=2).num_bytes == 2 * (sum(matrices) + cache)


def test_a_shared_backbone_is_read_once_to_append_both_streams(tiny):
    config, past = tiny.sizes(**SHARED), Past(history_frames=3, text_tokens=5)
    seen = 2 * config.video_tokens
    apart = pass_cost(config, "video", past, rows=1, frames=2, keeps=True)
    apart = apart + pass_cost(config, "action", past, rows=1, frames=2, scratch_tokens=seen, keeps=True)
    layers = (8 * 24 * 24 - 2 * 24 * 24 + 2 * 24 * 32) + 2 * 24 * 24  # of the last one only keys and values
    assert append(config, past, rows=1, frames=2).num_bytes == apart.num_bytes - 2 * layers
    assert append(config, past, rows=1, frames=2).flops == apart.flops


def test_guidance_costs_the_second_row(tiny):
    config, past = tiny.sizes(), Past(history_frames=3, text_tokens=5)
    plain = InferenceConfig(latent_frames_per_chunk=2, window=3, action_steps=2)
    guided = replace(plain, video_guidance=5.0)
    costs = [chunk_cost(config, inference, past, NOTHING) for inference in (plain, guided)]
    assert costs[0].total == costs[0].total_unguided == costs[1].total_unguided
    assert costs[1].total == costs[1].total_guided == costs[0].total_guided
    assert costs[1].imagine.flops == 2 * costs[0].imagine.flops
    assert costs[1].decode_actions == costs[0].decode_actions
