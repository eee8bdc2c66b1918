"""A policy of about 150 M weights: trains from scratch on one consumer GPU, and runs on one with ease."""

from foreact.embodiments import CameraLayout
from foreact.policy.inference import InferenceChoices
from foreact.training.corruption import CorruptionConfig
from foreact.training.optimization import OptimizationConfig
from foreact.training.recipe import Recipe
from foreact.training.step import BatchConfig
from foreact.transformer.model import TransformerConfig


def small() -> Recipe:
    """Return the recipe: two arms, all three cameras at 128 pixels, 96 video tokens per latent frame.

    Sequences are 20 seconds long, and so is the history at inference; training fits 16 GB.
    """
    return Recipe(
        embodiment="aloha",
        layout=CameraLayout(kind="t_shape", cameras=("top", "left_wrist", "right_wrist"), height=128, width=128),
        transformer=TransformerConfig(
            latent_channels=16,
            canvas=(24, 16),
            actions_per_latent_frame=16,
            video_width=768,
            action_width=384,
            num_layers=12,
            num_heads=12,
            video_ffn_dim=3072,
            action_ffn_dim=1536,
            text_dim=256,
        ),
        corruption=CorruptionConfig(video_shift=3.0, action_shift=1.0),
        batch=BatchConfig(global_batch=32, micro_batch=1, max_frames=64),
        optimization=OptimizationConfig(num_steps=30_000, learning_rate=3e-4, warmup_steps=1000),
        precision="bfloat16",
        save_every=500,
        eval_every=2000,
        inference=InferenceChoices(
            latent_frames_per_chunk=4,
            window=64,
            video_steps=5,
            s_stop=1.0,
            action_steps=10,
        ),
    )
