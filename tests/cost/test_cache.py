"""The computed size of the KV cache is that of the real one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foreact.cost.cache import cache_size
from foreact.policy.controllers import PolicyController
from foreact.policy.inference import InferenceConfig
from foreact.recipes import get_recipe
from foreact.transformer.cache import KVCache
from foreact.transformer.model import TransformerConfig


def real_bytes(config: TransformerConfig, inference: InferenceConfig, dtype: torch.dtype, device: str = "cpu") -> int:
    return KVCache(
        num_layers=config.num_layers,
        batch=inference.rows,
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        window=inference.window,
        video_tokens=config.video_tokens,
        action_tokens=config.actions_per_latent_frame,
        scratch_frames=inference.scratch_frames,
        device=torch.device(device),
        dtype=dtype,
    ).num_bytes


@given(
    layers=st.integers(1, 3),
    heads=st.integers(1, 3),
    rows=st.integers(1, 4),
    actions=st.integers(1, 5),
    window=st.integers(1, 9),
    chunk=st.integers(1, 4),
    guidance=st.sampled_from([(1.0, 1.0), (5.0, 1.0), (1.0, 2.0)]),
    asynchronous=st.booleans(),
)
def test_it_is_the_real_caches(layers, heads, rows, actions, window, chunk, guidance, asynchronous):
    config = TransformerConfig(
        num_layers=layers,
        num_heads=heads,
        video_width=6 * heads,
        action_width=2 * heads,
        canvas=(2 * rows, 4),
        actions_per_latent_frame=actions,
    )
    inference = InferenceConfig(
        window=window,
        latent_frames_per_chunk=chunk,
        video_guidance=guidance[0],
        action_guidance=guidance[1],
        asynchronous=asynchronous,
    )
    size = cache_size(config, inference)
    assert size.float32_bytes == real_bytes(config, inference, torch.float32)
    assert size.bfloat16_bytes == real_bytes(config, inference, torch.bfloat16)
    per_frame = size.rows * size.token_bytes * (config.video_tokens + config.actions_per_latent_frame)
    assert size.bfloat16_bytes == size.latent_frames * per_frame


@pytest.mark.parametrize("name", ["tiny", "small", "wan5b", "wan5b-shared"])
def test_of_every_preset(name):
    recipe = get_recipe(name)
    size = cache_size(recipe.transformer, recipe.policy_config())
    assert size.bfloat16_bytes == real_bytes(recipe.transformer, recipe.policy_config(), torch.bfloat16, "meta")


def test_a_token_of_the_full_size():
    recipe = get_recipe("wan5b")
    assert cache_size(recipe.transformer, recipe.policy_config()).token_bytes == pytest.approx(0.369e6, rel=0.002)


def test_a_policy_that_can_act_while_it_thinks_is_given_the_room_for_it(tiny):
    """Before it is driven so, nothing in its settings asks for the room, and memory is checked before loading."""
    policy = tiny.policy(forward_dynamics=True)
    size = cache_size(policy.networks.model.config, policy.config)
    driven = PolicyController(policy, "push it", mode="grounded").session.rollout.cache
    assert size.float32_bytes == driven.num_bytes
    assert size.latent_frames == policy.config.window + 2 * policy.config.latent_frames_per_chunk
    assert cache_size(policy.networks.model.config, tiny.inference()).float32_bytes < size.float32_bytes
