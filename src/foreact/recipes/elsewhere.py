"""Small policies for other people's simulators: `tiny`'s network, fitted to their robots and cameras."""

from dataclasses import replace

from foreact.embodiments import CameraLayout, Timing, load_embodiment
from foreact.recipes.tiny import tiny_disturbed
from foreact.training.recipe import Recipe


def tiny_metaworld() -> Recipe:
    """Return the recipe for Meta-World: one camera at 96 pixels, nine video tokens and two of actions a latent frame.

    The settings with which so small a network learns quickly are those of `tiny-disturbed`. Actions are increments of
    the hand already, so the network does not see them as changes once more.
    """
    layout = CameraLayout(kind="side_by_side", cameras=("corner2",), height=96, width=96)
    return _fitted("sawyer", layout)


def tiny_libero() -> Recipe:
    """Return the recipe for LIBERO: both cameras at 64 pixels, eight video tokens and one of actions a latent frame."""
    layout = CameraLayout(kind="side_by_side", cameras=("agentview", "eye_in_hand"), height=64, width=64)
    return _fitted("libero_panda", layout)


def _fitted(robot: str, layout: CameraLayout) -> Recipe:
    recipe = tiny_disturbed()
    timing: Timing = load_embodiment(robot).timing
    transformer = replace(
        recipe.transformer,
        canvas=layout.canvas_shape(8),  # pixels that the small video VAE makes one latent
        actions_per_latent_frame=timing.actions_per_latent_frame,
        relative_actions=False,
        action_data_std=0.5,
    )
    # At their rates four latent frames are 0.4 s (Meta-World) and 0.8 s (LIBERO).
    inference = replace(recipe.inference, latent_frames_per_chunk=4)
    batch = replace(recipe.batch, max_chunk=4)
    return replace(recipe, embodiment=robot, layout=layout, transformer=transformer, batch=batch, inference=inference)
