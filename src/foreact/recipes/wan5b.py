"""The full size: Wan2.2's 5 B video stream, with an action stream of its own or with one backbone for both.

Source: LingBot-VA (arXiv 2601.21998): sizes from section 3, post-training from section 4, inference as released for
RoboTwin.
"""

from dataclasses import replace

from foreact.policy.inference import InferenceChoices
from foreact.training.corruption import CorruptionConfig
from foreact.training.optimization import OptimizationConfig
from foreact.training.recipe import Recipe
from foreact.training.step import BatchConfig
from foreact.transformer.model import TransformerConfig


def wan5b() -> Recipe:
    """Return the Mixture-of-Transformers' recipe: RoboTwin's two arms and three cameras, post-training.

    The longest training sequence is the inference window: no history is longer than those it has learned from.
    """
    return Recipe(
        embodiment="robotwin_aloha",
        transformer=TransformerConfig(
            latent_channels=48,
            canvas=(24, 20),
            actions_per_latent_frame=16,
            video_width=3072,
            action_width=768,
            num_layers=30,
            num_heads=24,
            video_ffn_dim=14336,
            action_ffn_dim=1536,
            text_dim=4096,
            text_length=512,
        ),
        corruption=CorruptionConfig(video_shift=5.0, action_shift=1.0),
        batch=BatchConfig(global_batch=32, micro_batch=1, max_frames=72, recompute=True),
        optimization=OptimizationConfig(num_steps=3000, learning_rate=1e-5, warmup_steps=100),
        precision="bfloat16",
        inference=InferenceChoices(
            latent_frames_per_chunk=2,
            window=72,
            video_steps=25,
            video_guidance=5.0,
            action_steps=50,
        ),
    )


def wan5b_lora() -> Recipe:
    """Return `wan5b`'s post-training for one large card: adapters on the video stream, the action stream in full.

    Adapters want a rate about ten times that of all weights.
    """
    recipe = wan5b()
    return replace(recipe, method="lora", optimization=replace(recipe.optimization, learning_rate=1e-4))


def wan5b_pretrain() -> Recipe:
    """Return the paper's pretraining, as far as it is published: rates, clipping, sequences of ten thousand tokens.

    Several datasets of one robot are drawn from uniformly. How large the global batch was is not published; with this
    one, the steps make 1.4 T tokens, as the paper has it.
    """
    recipe = wan5b()
    return replace(
        recipe,
        batch=replace(recipe.batch, global_batch=512, max_frames=37, window=(4, 37)),
        optimization=replace(recipe.optimization, num_steps=275_000, learning_rate=1e-4, warmup_steps=2000),
        inference=replace(recipe.inference, window=37),
        save_every=500,
        eval_every=5000,
    )


def wan5b_post() -> Recipe:
    """Return the paper's post-training to a robot: 50 demonstrations, 3000 steps at 1e-5, 32 sequences a step."""
    return replace(wan5b(), save_every=500)


def wan5b_lora_48gb() -> Recipe:
    """Return `wan5b-lora` for one card of 48 GB: frozen matrices in bfloat16, which changes no result.

    Nothing is held out, since judging takes as much memory again: use `foreact evaluate --data` afterwards.
    """
    return replace(wan5b_lora(), frozen_precision="bfloat16", num_held_out=0)


def wan5b_lora_24gb() -> Recipe:
    """Return `wan5b-lora` for one card of 24 GB: as for 48 GB, with short sequences and the average on the CPU.

    A policy that has learned from 16 latent frames (5 s) at a time should remember no more: so long is its window.
    """
    recipe = wan5b_lora_48gb()
    return replace(
        recipe,
        batch=replace(recipe.batch, max_frames=16, window=(4, 16)),
        inference=replace(recipe.inference, window=16),
        average_on_cpu=True,
    )


def wan5b_shared() -> Recipe:
    """Return the recipe of the published variant: actions run through the video stream's own layers.

    As for the published weights, the first observed latent frame stands at the head of the first chunk.
    """
    recipe = wan5b()
    transformer = replace(
        recipe.transformer,
        backbone="shared",
        action_width=recipe.transformer.video_width,
        action_ffn_dim=recipe.transformer.video_ffn_dim,
        action_embedding="linear",
    )
    return replace(recipe, transformer=transformer, first_frame="chunk")


def shared_post() -> Recipe:
    """Return the post-training of the published weights to a robot: `wan5b-shared`, all weights."""
    return replace(wan5b_shared(), save_every=500)
