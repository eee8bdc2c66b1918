"""Which recipe fits a machine, and with which settings changed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from foreact.cost.machine import Machine, TrainingCost, training_cost
from foreact.cost.parameters import count_network
from foreact.cost.subject import subject_of_recipe
from foreact.cost.video_vae import describe_video_vae
from foreact.training.recipe import Recipe

SHORTEST = 12
"""Latent frames of the shortest sequences that are proposed; at 3 Hz they are 4 seconds."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A recipe on a machine, with the settings that had to change for it to fit."""

    name: str
    """Of the recipe."""
    recipe: Recipe
    """With the changes made."""
    cost: TrainingCost
    """On the machine."""
    flags: tuple[str, ...]
    """Words of the command line that make the changes."""


def propose(recipes: Mapping[str, Recipe], machine: Machine) -> Iterator[Proposal]:
    """Yield every recipe as it fits the machine best, in the given order; one that does not fit, as it is.

    A recipe that does not fit as it is gives up judging on held-out episodes first, and then the length of its
    sequences, down to `SHORTEST`.

    Args:
        recipes: By name.
        machine: Where to train.
    """
    for name, recipe in recipes.items():
        subject, parameters = subject_of_recipe(name, recipe), count_network(recipe.transformer)
        vae = describe_video_vae(subject.video_vae, subject.layout, recipe.inference.latent_frames_per_chunk)
        vae_parameters = vae.encoder_parameters + vae.decoder_parameters
        variants = list(_variants(recipe, machine.num_gpus))
        costs = (training_cost(each, parameters, machine, vae_parameters=vae_parameters) for each in variants)
        made = ((each, cost) for each, cost in zip(variants, costs, strict=True) if cost.fits)
        as_it_is = variants[0], training_cost(variants[0], parameters, machine, vae_parameters=vae_parameters)
        chosen, cost = next(made, as_it_is)
        yield Proposal(name=name, recipe=chosen, cost=cost, flags=_flags(recipe, chosen))


def with_length(recipe: Recipe, frames: int) -> Recipe:
    """Return a recipe whose sequences, history in training and window at inference are no longer than so many frames.

    Args:
        recipe: Any.
        frames: Latent frames.
    """
    batch, window = recipe.batch, recipe.batch.window
    return replace(
        recipe,
        batch=replace(
            batch,
            max_frames=min(frames, batch.max_frames),
            window=(min(window[0], frames), min(window[1], frames)),
        ),
        inference=replace(recipe.inference, window=min(recipe.inference.window, frames)),
    )


def _variants(recipe: Recipe, num_gpus: int) -> Iterator[Recipe]:
    if num_gpus > 1:
        recipe = replace(recipe, average_on_cpu=False)  # which is for one process
    yield recipe
    unjudged = replace(recipe, num_held_out=0)
    for frames in range(recipe.batch.max_frames, min(SHORTEST, recipe.batch.max_frames) - 1, -1):
        yield with_length(unjudged, frames)


def _flags(named: Recipe, chosen: Recipe) -> tuple[str, ...]:
    flags = [] if chosen.average_on_cpu == named.average_on_cpu else ["--no-average-on-cpu"]
    if chosen.num_held_out != named.num_held_out:
        flags += ["--num-held-out", str(chosen.num_held_out)]
    if chosen.batch.max_frames != named.batch.max_frames:
        flags += ["--batch.max-frames", str(chosen.batch.max_frames)]
    if chosen.batch.window != named.batch.window:
        flags += ["--batch.window", *map(str, chosen.batch.window)]
    if chosen.inference.window != named.inference.window:
        flags += ["--inference.window", str(chosen.inference.window)]
    return tuple(flags)
