"""Named whole configurations, as plain functions. A recipe returns the tree that one training run is made of."""

from collections.abc import Callable

from foreact.errors import UnknownNameError
from foreact.recipes.elsewhere import tiny_libero, tiny_metaworld
from foreact.recipes.small import small
from foreact.recipes.tiny import tiny, tiny_disturbed, tiny_grounded, tiny_reactive
from foreact.recipes.wan5b import (
    shared_post,
    wan5b,
    wan5b_lora,
    wan5b_lora_24gb,
    wan5b_lora_48gb,
    wan5b_post,
    wan5b_pretrain,
    wan5b_shared,
)
from foreact.training.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "tiny-disturbed": tiny_disturbed,
    "tiny-grounded": tiny_grounded,
    "tiny-reactive": tiny_reactive,
    "tiny-metaworld": tiny_metaworld,
    "tiny-libero": tiny_libero,
    "small": small,
    "wan5b": wan5b,
    "wan5b-lora": wan5b_lora,
    "wan5b-shared": wan5b_shared,
    "wan5b-pretrain": wan5b_pretrain,
    "wan5b-post": wan5b_post,
    "wan5b-lora-48gb": wan5b_lora_48gb,
    "wan5b-lora-24gb": wan5b_lora_24gb,
    "shared-post": shared_post,
}


def get_recipe(name: str) -> Recipe:
    """Return the recipe of that name; it holds settings only, so this costs nothing at any size.

    Raises:
        UnknownNameError: There is none; those there are are listed.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]()
