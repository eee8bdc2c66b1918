"""Memory to run: what each precision shrinks, and activations against a dry run of the real network."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from foreact.cost.cache import cache_size
from foreact.cost.live_bytes import LiveBytes
from foreact.cost.parameters import count_network
from foreact.cost.running import largest_pass, run_memory
from foreact.policy.inference import InferenceConfig
from foreact.recipes import get_recipe
from foreact.transformer.attention import CachedAttention
from foreact.transformer.cache import KVCache
from foreact.transformer.joint_layer import TextTokens
from foreact.transformer.model import TextContext, WorldActionModel
from foreact.transformer.positions import RotaryTable
from foreact.transformer.tokens import StreamInput


@pytest.mark.parametrize(
    ("precision", "network", "rest"), [("float32", 4, 4), ("bfloat16", 2, 2), ("int8", 1, 2), ("fp8", 1, 2)]
)
def test_bytes_by_precision(tiny, precision, network, rest):
    config, inference = tiny.sizes(), InferenceConfig(latent_frames_per_chunk=2, window=3)
    parameters, cache = count_network(config), cache_size(config, inference)
    memory = run_memory(
        precision,
        parameters,
        cache,
        pass_numbers=1000,
        vae_activation_bytes=10,
        vae_parameters=300,
        text_parameters=700,
    )
    matrices = parameters.layer_matrices
    assert memory.network == network * matrices + rest * (parameters.total - matrices)
    assert memory.cache == rest * 2 * 2 * 24 * 5 * 8
    assert (memory.activations, memory.video_vae, memory.text_encoder) == (1000 * rest, 300 * rest, 700 * rest)
    assert memory.total == memory.network + memory.cache + 2000 * rest
    assert memory.total_text_released == memory.total - 700 * rest


def test_the_larger_of_network_and_video_vae_needs_the_room(tiny):
    config, inference = tiny.sizes(), InferenceConfig(latent_frames_per_chunk=2, window=3)
    memory = [
        run_memory(
            precision,
            count_network(config),
            cache_size(config, inference),
            pass_numbers=10,
            vae_activation_bytes=5000,
            vae_parameters=0,
            text_parameters=0,
        )
        for precision in ("float32", "bfloat16")
    ]
    assert [m.activations for m in memory] == [10_000, 5000]


def attend(queries, keys, values, attn_mask=None):
    """Stand in for the fused kernel, which keeps nothing but its result."""
    return torch.empty_like(queries)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["small", "wan5b", "wan5b-shared"])
def test_activations_are_those_of_a_dry_run(monkeypatch, name, dtype):
    recipe = get_recipe(name)
    config = replace(recipe.transformer, num_layers=2)
    inference = replace(recipe.policy_config(), window=2)
    frames, rows = inference.latent_frames_per_chunk, inference.rows
    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    with torch.device("meta"), torch.no_grad():
        model = WorldActionModel(config).to(dtype)
        cache = KVCache(
            num_layers=2,
            batch=rows,
            num_heads=config.num_heads,
            head_dim=config.head_dim,
            window=2,
            video_tokens=config.video_tokens,
            action_tokens=config.actions_per_latent_frame,
            scratch_frames=frames,
            device=torch.device("meta"),
            dtype=dtype,
        )
        words = torch.empty(rows, 5, config.text_dim, dtype=dtype), torch.empty(rows, 1, 1, 5, dtype=dtype)
        text = TextContext(*(stream.read_text(TextTokens(*words)) for stream in (model.video, model.action_layers)))
        sizes = (
            (config.video_tokens, config.patch_features),
            (config.actions_per_latent_frame, config.action_channels),
        )
        streams = [
            StreamInput(
                values=torch.empty(rows, frames, tokens, features, dtype=dtype),
                flow_time=torch.empty(rows, 1),
                rotary=RotaryTable(torch.empty(frames, tokens, config.head_dim // 2, dtype=torch.complex64)),
            )
            for tokens, features in sizes
        ]
        with LiveBytes() as memory:
            model(*streams, text, CachedAttention(cache))
    computed = largest_pass(config, inference) * torch.empty(0, dtype=dtype).element_size()
    assert computed == pytest.approx(memory.peak, rel=0.12)
