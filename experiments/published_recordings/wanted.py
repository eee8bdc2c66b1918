"""Which rollouts to record: the settings, and the size of the random networks they run on."""

import random
from dataclasses import dataclass, field
from typing import Any

NUM_CHANNELS = 30
TWO_CAMERAS = ("observation.images.cam0", "observation.images.cam1")
THREE_CAMERAS = (*TWO_CAMERAS, "observation.images.cam2")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One rollout to record."""

    name: str
    """Of its folder."""
    seed: int
    """Of everything random in it."""
    num_layers: int
    num_heads: int
    head_dim: int
    text_dim: int = 4
    vae_dim: int = 2
    """Channels of the VAE's first layer, encoder and decoder."""
    picture_sizes: tuple[tuple[int, int], ...]
    """Height and width of what each camera takes; the program resizes it."""
    perturbation: float = 0.0
    """Standard deviation, in physical units, by which what is executed differs from what was predicted."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Those of `trace.json` that are no result."""

    def quantiles(self) -> tuple[list[float], list[float]]:
        """Return each channel's range."""
        draw = random.Random(self.seed)
        low = [round(draw.uniform(-1.0, -0.2), 4) for _ in range(NUM_CHANNELS)]
        return low, [round(draw.uniform(0.2, 1.0), 4) for _ in range(NUM_CHANNELS)]


WANTED = (
    Wanted(
        name="no_guidance",
        seed=11,
        num_layers=1,
        num_heads=1,
        head_dim=24,
        picture_sizes=((32, 32),),
        settings={
            "prompt": "pick up the red block",
            "cameras": TWO_CAMERAS[:1],
            "height": 32,
            "width": 32,
            "camera_layout": "side_by_side",
            "latent_frames_per_chunk": 4,
            "actions_per_latent_frame": 4,
            "video_steps": 4,
            "action_steps": 5,
            "video_steps_executed": -1,
            "guidance_scale": 1.0,
            "action_guidance_scale": 1.0,
            "video_shift": 3.0,
            "action_shift": 0.05,
            "attention_window": 30,
            "used_action_channels": (0, 1, 2, 3, 4, 5, 6),
            "chunks": 2,
        },
    ),
    Wanted(
        name="partial_video_steps",
        seed=12,
        num_layers=2,
        num_heads=1,
        head_dim=26,  # rotary parts of 10 + 8 + 8, unequal as the published 44 + 42 + 42
        picture_sizes=((32, 32),),
        settings={
            "prompt": "  place the  cup &amp; the bowl\non the plate ",
            "cameras": TWO_CAMERAS[:1],
            "height": 32,
            "width": 32,
            "camera_layout": "side_by_side",
            "latent_frames_per_chunk": 2,
            "actions_per_latent_frame": 8,
            "video_steps": 5,
            "action_steps": 4,
            "video_steps_executed": 2,
            "guidance_scale": 3.0,
            "action_guidance_scale": 1.0,
            "video_shift": 5.0,
            "action_shift": 1.0,
            "attention_window": 60,
            "used_action_channels": (28, 3, 0, 17),
            "chunks": 3,
        },
    ),
    Wanted(
        name="action_guidance",
        seed=13,
        num_layers=2,
        num_heads=1,
        head_dim=20,
        picture_sizes=((48, 24), (24, 12), (24, 12)),
        settings={
            "prompt": "place the block on the plate",
            "cameras": THREE_CAMERAS,
            "height": 64,
            "width": 32,
            "camera_layout": "t_shape",
            "latent_frames_per_chunk": 2,
            "actions_per_latent_frame": 16,
            "video_steps": 3,
            "action_steps": 4,
            "video_steps_executed": -1,
            "guidance_scale": 1.0,
            "action_guidance_scale": 2.0,
            "video_shift": 5.0,
            "action_shift": 1.0,
            "attention_window": 72,
            "used_action_channels": (0, 1, 2, 3, 4, 5, 6, 28, 7, 8, 9, 10, 11, 12, 13, 29),
            "chunks": 2,
        },
    ),
    Wanted(
        name="resized_and_perturbed",
        seed=14,
        num_layers=2,
        num_heads=2,
        head_dim=12,
        picture_sizes=((45, 27), (20, 24)),
        perturbation=0.1,
        settings={
            "prompt": "push the red block into the bowl",
            "cameras": TWO_CAMERAS,
            "height": 32,
            "width": 16,
            "camera_layout": "side_by_side",
            "latent_frames_per_chunk": 2,
            "actions_per_latent_frame": 4,
            "video_steps": 4,
            "action_steps": 3,
            "video_steps_executed": 3,
            "guidance_scale": 1.0,
            "action_guidance_scale": 1.0,
            "video_shift": 5.0,
            "action_shift": 2.0,
            "attention_window": 60,
            "used_action_channels": (7, 8, 9),
            "chunks": 3,
        },
    ),
    Wanted(
        name="both_guided",
        seed=15,
        num_layers=1,
        num_heads=2,
        head_dim=14,
        picture_sizes=((32, 16), (32, 16)),
        perturbation=0.05,
        settings={
            "prompt": "pick up the red block and place it in the bowl",
            "cameras": TWO_CAMERAS,
            "height": 32,
            "width": 16,
            "camera_layout": "side_by_side",
            "latent_frames_per_chunk": 3,
            "actions_per_latent_frame": 4,
            "video_steps": 3,
            "action_steps": 3,
            "video_steps_executed": 1,
            "guidance_scale": 3.0,
            "action_guidance_scale": 2.0,
            "video_shift": 5.0,
            "action_shift": 1.0,
            "attention_window": 60,
            "used_action_channels": (0, 1, 2, 3, 4, 5, 29),
            "chunks": 2,
        },
    ),
)
