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
