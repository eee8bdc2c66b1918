"""The policy that ships: small enough to be trained, and to run in real time, on two CPU cores."""

from dataclasses import replace

from foreact.embodiments import CameraLayout
from foreact.policy.inference import InferenceChoices
from foreact.training.corruption import CorruptionConfig
from foreact.training.optimization import OptimizationConfig
from foreact.training.recipe import Recipe
from foreact.training.step import BatchConfig
from foreact.transformer.model import TransformerConfig

REACTIVE_STEP_COST = 0.74
"""Processor time of a training step without noisy video, in those of `tiny` (`benchmarks/training_step.py`)."""


def tiny() -> Recipe:
    """Return the recipe of the shipped policy: two arms, the top camera, 16 video tokens per latent frame."""
    return Recipe(
        embodiment="aloha",
        layout=CameraLayout(kind="side_by_side", cameras=("top",), height=64, width=64),
        transformer=TransformerConfig(
            latent_channels=16,
            canvas=(8, 8),
            actions_per_latent_frame=16,
            video_width=128,
            action_width=96,
            num_layers=4,
            num_heads=4,
            video_ffn_dim=384,
            action_ffn_dim=384,
            text_dim=64,
        ),
        corruption=CorruptionConfig(video_shift=2.0, action_shift=1.0),
        # One sequence at a time wastes nothing on padding, and what it computes stays in the processor's cache
        # (benchmarks/training_step.py). Nothing else changes; a GPU may rather have all at once.
        batch=BatchConfig(global_batch=4, micro_batch=1, max_frames=48),
        optimization=OptimizationConfig(num_steps=4000, learning_rate=4e-3, warmup_steps=60, ema_decay=0.997),
        eval_every=1000,
        inference=InferenceChoices(
            latent_frames_per_chunk=4,
            window=64,
            video_steps=5,
            s_stop=1.0,
            action_steps=10,
        ),
    )


def tiny_disturbed() -> Recipe:
    """Return the recipe for demonstrations in which things go wrong (`foreact collect --disturbance strong`).

    The same network as `tiny` in width and depth, with settings under which so small a network learns from its pictures
    in a fraction of the processor time; what each gains is in `experiments/looking`. Not the paper's, and not for full
    size:
    - fewer tokens, so that a step costs less: larger patches, four actions a token, one batch of sixteen sequences;
    - actions as changes from the last one, and a learned vector for a token's place, so that less has to be found out;
    - Muon for the matrices of the layers;
    - flow times of actions near noise, where the pictures decide; the actions are then decoded in one step;
    - one or two latent frames a chunk, so that the robot looks after 0.64 s, twice as often as `tiny`.
    """
    recipe = tiny()
    return replace(
        recipe,
        transformer=replace(
            recipe.transformer,
            patch_size=4,
            actions_per_token=4,
            relative_actions=True,
            learned_positions=True,
            video_data_std=1.0,
            action_data_std=0.3,
        ),
        corruption=replace(recipe.corruption, action_shift=10.0),
        batch=replace(recipe.batch, global_batch=16, micro_batch=16, max_chunk=2),
        optimization=replace(recipe.optimization, num_steps=2600, layer_matrices="muon"),
        inference=replace(recipe.inference, latent_frames_per_chunk=2, video_steps=2, action_steps=1),
    )


def tiny_grounded() -> Recipe:
    """Return the post-training that makes `tiny` fit for asynchronous control.

    Half of the sequences teach forward dynamics, and half of the other chunks begin with actions that are given.
    """
    recipe = tiny()
    return replace(
        recipe,
        corruption=replace(recipe.corruption, forward_dynamics_probability=0.5, action_prefix_probability=0.5),
        optimization=replace(recipe.optimization, num_steps=3000, learning_rate=2e-3),
        eval_every=1000,
    )


def tiny_reactive() -> Recipe:
    """Return the baseline of `tiny`: the same network without imagination, actions straight from what was seen.

    It gets as many more steps as `tiny`'s cost.
    """
    recipe = tiny()
    return replace(
        recipe,
        batch=replace(recipe.batch, imagines=False),
        optimization=replace(recipe.optimization, num_steps=round(recipe.optimization.num_steps / REACTIVE_STEP_COST)),
    )
