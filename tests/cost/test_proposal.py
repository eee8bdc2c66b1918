"""What is proposed for a machine: the recipe as it is, or shorter, and the words that make it so."""

from dataclasses import replace

import pytest

from foreact.commands import train
from foreact.commands.parsing import parse
from foreact.cost.cards import CARDS
from foreact.cost.machine import Machine
from foreact.cost.proposal import SHORTEST, propose, with_length
from foreact.recipes import get_recipe


def proposed(name: str, memory: float, num_gpus: int = 1):
    card = replace(CARDS["h100"], memory_bytes=round(memory * 1e9))
    (proposal,) = propose({name: get_recipe(name)}, Machine(card=card, num_gpus=num_gpus))
    return proposal


def test_what_fits_is_left_as_it_is() -> None:
    proposal = proposed("wan5b-lora-48gb", 48)
    assert proposal.cost.fits and proposal.flags == () and proposal.recipe == get_recipe("wan5b-lora-48gb")


def test_judging_is_given_up_before_length() -> None:
    proposal = proposed("wan5b-post", 80, num_gpus=2)
    assert proposal.cost.fits and proposal.flags == ("--num-held-out", "0")


@pytest.mark.parametrize("memory", [26, 30])
def test_sequences_are_the_longest_that_fit(memory: float) -> None:
    proposal = proposed("wan5b-lora-48gb", memory)
    frames = proposal.recipe.batch.max_frames
    assert proposal.cost.fits and SHORTEST <= frames < 72
    card = replace(CARDS["h100"], memory_bytes=round(memory * 1e9))
    longer = with_length(replace(get_recipe("wan5b-lora-48gb"), num_held_out=0), frames + 1)
    (other,) = propose({"longer": longer}, Machine(card=card, num_gpus=1))
    assert other.recipe.batch.max_frames == frames


def test_what_does_not_fit_is_told_as_it_is() -> None:
    proposal = proposed("wan5b-post", 24)
    assert not proposal.cost.fits and proposal.flags == ()


@pytest.mark.parametrize(("name", "memory", "num_gpus"), [("wan5b-lora-48gb", 26, 1), ("wan5b-lora-24gb", 24, 2)])
def test_the_flags_make_the_recipe(name: str, memory: float, num_gpus: int) -> None:
    proposal = proposed(name, memory, num_gpus)
    words = ["--recipe", name, "--data", "d", "--vae", "v", "--out", "o", *proposal.flags]
    assert proposal.flags and parse("train", train, words).training == proposal.recipe


def test_a_shorter_recipe_remembers_no_more_than_it_learned_from() -> None:
    shorter = with_length(get_recipe("wan5b-post"), 3)
    assert (shorter.batch.max_frames, shorter.batch.window, shorter.inference.window) == (3, (3, 3), 3)
