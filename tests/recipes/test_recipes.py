"""Every recipe is a policy that can be: its cameras, robot, network and video VAE fit each other."""

from dataclasses import replace

import pytest

import foreact
from foreact.cost.subject import subject_of_recipe
from foreact.errors import UnknownNameError
from foreact.recipes import RECIPES, get_recipe
from foreact.simulation.tasks import TASKS


@pytest.mark.parametrize("name", RECIPES)
def test_the_robots_pictures_and_actions_fit_the_network(name):
    recipe = get_recipe(name)
    vae = subject_of_recipe(name, recipe).video_vae
    factor = vae["patch_size"] * 2 ** (len(vae["dim_mult"]) - 1)
    robot, network = recipe.robot(), recipe.transformer
    assert robot.layout.canvas_shape(factor) == network.canvas
    assert robot.timing.actions_per_latent_frame == network.actions_per_latent_frame
    assert 2 ** sum(vae["temperal_downsample"]) == robot.timing.vae_factor
    assert vae["z_dim"] == network.latent_channels


@pytest.mark.parametrize("name", ["small", *(name for name in RECIPES if name.startswith(("wan5b", "shared")))])
def test_no_history_is_longer_than_the_longest_sequence_it_learned_from(name):
    recipe = get_recipe(name)
    assert recipe.inference.window <= recipe.batch.max_frames


def test_an_unknown_one_is_refused_and_the_known_ones_listed():
    with pytest.raises(UnknownNameError, match="wan5b-shared"):
        get_recipe("wan6b")


def test_small_shares_nothing_with_the_full_size_but_the_robot():
    recipe = get_recipe("small")
    assert recipe.layout is not None
    assert recipe.layout.cameras == ("top", "left_wrist", "right_wrist")
    assert recipe.transformer.video_tokens == 96


def test_post_training_is_as_published():
    optimization, batch = get_recipe("wan5b").optimization, get_recipe("wan5b").batch
    assert (optimization.learning_rate, optimization.num_steps, batch.global_batch) == (1e-5, 3000, 32)
    assert (optimization.weight_decay, optimization.max_grad_norm) == (0.01, 2.0)
    assert get_recipe("wan5b").precision == "bfloat16"


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(("wan5b", "shared"))])
def test_the_full_size_keeps_no_layer_for_the_backward_pass(name):
    assert get_recipe(name).batch.recompute


def test_the_full_size_sees_what_was_published():
    recipe, shared = get_recipe("wan5b"), get_recipe("wan5b-shared")
    network, inference = recipe.transformer, recipe.inference
    assert (network.video_tokens, network.actions_per_latent_frame) == (120, 16)
    assert (network.video_width, network.num_layers, network.num_heads, network.video_ffn_dim) == (3072, 30, 24, 14336)
    assert (network.text_dim, network.text_length, network.latent_channels) == (4096, 512, 48)
    assert (inference.window, inference.latent_frames_per_chunk) == (72, 2)
    assert (inference.video_steps, inference.video_guidance, recipe.trained.video_shift) == (25, 5.0, 5.0)
    assert (inference.action_steps, inference.action_guidance, recipe.trained.action_shift) == (50, 1.0, 1.0)
    assert shared.transformer.is_shared
    assert shared.trained.first_frame == "chunk"


def test_the_policy_for_meta_world_ships_as_its_recipe_made_it():
    policy, recipe = foreact.load("tiny-metaworld"), get_recipe("tiny-metaworld")
    assert policy.networks.model.config == recipe.transformer
    assert replace(policy.config, disagreement_threshold=None) == recipe.policy_config()
    assert policy.embodiment.name == "sawyer" and len(policy.instructions) == 5


def test_the_policy_that_reacts_ships_as_its_recipe_made_it():
    policy, recipe = foreact.load("tiny-disturbed"), get_recipe("tiny-disturbed")
    assert policy.networks.model.config == recipe.transformer
    assert replace(policy.config, disagreement_threshold=None) == recipe.policy_config()
    assert policy.instructions == (TASKS["reach_cube"].instruction, TASKS["lift_cube"].instruction)
