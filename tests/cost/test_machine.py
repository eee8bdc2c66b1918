"""A recipe on a machine: memory against what torch holds, time against what is multiplied, and what is refused."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from foreact.cost.cards import CARDS, card_of, get_card, smallest_card
from foreact.cost.machine import Machine, trained_parameters, training_cost
from foreact.cost.parameters import count_network
from foreact.cost.subject import subject_of_recipe
from foreact.cost.video_vae import describe_video_vae
from foreact.errors import ConfigurationError, UnknownNameError
from foreact.recipes import get_recipe
from foreact.training.methods import AdapterConfig, freeze, store_frozen_in_bfloat16
from foreact.training.optimization import make_optimizer
from foreact.training.ranks import ParallelConfig
from foreact.training.state import TrainingState


def cost_of(name: str, card: str, num_gpus: int = 1, **changes):
    recipe = replace(get_recipe(name), **changes)
    return training_cost(recipe, count_network(recipe.transformer), Machine(card=CARDS[card], num_gpus=num_gpus))


@pytest.mark.parametrize("method", ["full", "lora", "action"])
def test_weights_average_and_gradients_are_what_a_state_holds(tiny, method: str) -> None:
    """Of a real network: bytes of its parameters and of its moving average, counted tensor by tensor."""
    recipe = replace(
        get_recipe("wan5b-lora-48gb"),
        transformer=tiny.sizes(),
        method=method,
        adapters=AdapterConfig(rank=3),
    )
    model = tiny.model()
    freeze(model, method, recipe.adapters)
    store_frozen_in_bfloat16(model)
    state = TrainingState(model, make_optimizer(model, recipe.optimization))
    memory = training_cost(recipe, count_network(tiny.sizes()), Machine(card=CARDS["h100"], num_gpus=1)).memory
    trained = sum(value.nbytes for value in state.weights.values())
    frozen = sum(value.nbytes for value in model.parameters() if not value.requires_grad)
    assert (memory.gradients, memory.average) == (trained, sum(value.nbytes for value in state.ema.values()))
    assert (memory.trained, memory.moments) == (trained * 3 // 2, 2 * trained), "copies in bfloat16; two moments"
    assert memory.frozen == pytest.approx(frozen, rel=0.03), "norms of layers are counted as if they were matrices"


def test_cards_share_what_is_stored_and_not_what_is_computed() -> None:
    one, eight = (cost_of("wan5b-post", "h100", n).memory for n in (1, 8))
    for part in ("gradients", "moments", "average"):
        assert getattr(eight, part) == getattr(one, part) // 8
    assert eight.activations == one.activations and one.gathered == 0 < eight.gathered < 3e9
    groups = cost_of("wan5b-post", "h100", 16, parallel=ParallelConfig(shard=8)).memory
    assert groups == eight, "two groups of eight: each has a copy of its own"


def test_the_full_size_is_near_what_dry_runs_held() -> None:
    """Eight processes at 9,928 and 19,448 tokens held 19.4 and 23.3 GB on tensors without memory."""
    post = get_recipe("wan5b-post")
    short = replace(post.batch, max_frames=37, window=(4, 37))
    for batch, held in ((short, 19.4e9), (post.batch, 23.3e9)):
        memory = cost_of("wan5b-post", "h100", 8, batch=batch, num_held_out=0).memory
        assert memory.total == pytest.approx(held, rel=0.2)


def test_named_recipes_fit_the_cards_they_are_named_for() -> None:
    assert cost_of("wan5b-lora-24gb", "rtx4090").fits and cost_of("wan5b-lora-48gb", "l40s").fits
    assert not cost_of("wan5b-lora-48gb", "rtx5090").fits and not cost_of("wan5b-post", "h200").fits
    assert cost_of("wan5b-post", "h100", 8).fits and cost_of("shared-post", "h100", 8).fits
    assert cost_of("wan5b-pretrain", "h100", 64).fits


def test_time_is_operations_by_speed_and_money_is_time_by_price() -> None:
    post, parameters = get_recipe("wan5b-post"), count_network(get_recipe("wan5b-post").transformer)
    machine = Machine(card=CARDS["h100"], num_gpus=8, price_per_hour=3.0, utilization=0.5)
    cost = training_cost(post, parameters, machine)
    assert cost.step_s == pytest.approx(cost.flops_per_step / (8 * 0.5 * 989e12))
    assert cost.hours == pytest.approx(3000 * cost.step_s / 3600)
    assert cost.dollars == pytest.approx(8 * 3.0 * cost.hours)
    assert cost.tokens_per_step == 32 * (72 + 71) * 136
    assert Machine(card=CARDS["h100"], num_gpus=1).price == CARDS["h100"].price_per_hour


def test_cards_without_a_micro_batch_wait() -> None:
    times = [cost_of("wan5b-post", "h100", n).step_s for n in (32, 64)]
    assert times[0] == times[1], "32 sequences, one at a time, are no work for 64 cards"


def test_frozen_matrices_save_their_gradients() -> None:
    full, lora = (cost_of("wan5b-post", "h100", method=method).flops_per_step for method in ("full", "lora"))
    kept = cost_of("wan5b-post", "h100", batch=replace(get_recipe("wan5b-post").batch, recompute=False)).flops_per_step
    assert 0.75 * full < lora < 0.85 * full, "of four forwards, the video matrices' share of one"
    assert full == pytest.approx(4 / 3 * kept)
    shared = [cost_of("shared-post", "h100", method=method).flops_per_step for method in ("full", "lora")]
    assert shared[1] < 0.85 * shared[0]


def test_an_evaluation_counts_where_it_holds_more_than_a_step() -> None:
    judged, unjudged = (cost_of("wan5b-post", "h100", 8, num_held_out=n).memory for n in (5, 0))
    assert unjudged.evaluation == 0 < judged.activations < judged.evaluation
    assert judged.total - unjudged.total == judged.evaluation - judged.activations
    plain = cost_of("tiny", "h100").memory
    assert plain.trained == plain.gradients, "float32 training has no copies"


def test_adapters_are_counted_by_their_rank() -> None:
    recipe = replace(get_recipe("wan5b-lora"), adapters=AdapterConfig(rank=32))
    parameters = count_network(recipe.transformer)
    adapters = parameters.lora_trained - parameters.action.total
    assert trained_parameters(recipe, parameters) == parameters.action.total + 2 * adapters
    assert trained_parameters(replace(recipe, method="action"), parameters) == parameters.action.total


def test_what_cannot_be_is_refused() -> None:
    for wrong, words in (
        ({"num_gpus": 0}, "gpus; got: 0"),
        ({"num_gpus": 1, "utilization": 1.5}, "utilization; got: 1.5"),
        ({"num_gpus": 1, "price_per_hour": -1.0}, "price; got: -1"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            Machine(card=CARDS["h100"], **wrong)
    with pytest.raises(UnknownNameError, match="did you mean 'h100'"):
        get_card("h10")


def test_the_slowest_card_of_a_size_is_taken() -> None:
    assert smallest_card(24e9).name == "RTX 4090" and smallest_card(40e9).name == "A100 80 GB"
    assert smallest_card(1e12) is CARDS["b200"], "nothing is so large; the largest stands for it"


def test_the_page_says_what_is_computed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "full_size.md").read_text()
    cards = {"H100": "h100", "L40S": "l40s", "RTX 4090": "rtx4090"}
    rows = re.findall(
        r"^\| `([\w-]+)` \|[^|]*\| (\d+) x ([^|]+) \| ([\d.]+) GB \|[^|]*\| ([\d,]+) dollars \|$", page, re.M
    )
    assert len(rows) == 6
    for name, count, card, memory, price in rows:
        recipe = get_recipe(name)
        subject = subject_of_recipe(name, recipe)
        vae = describe_video_vae(subject.video_vae, subject.layout, 1)
        machine = Machine(card=CARDS[cards[card]], num_gpus=int(count))
        weights = vae.encoder_parameters + vae.decoder_parameters
        cost = training_cost(recipe, count_network(recipe.transformer), machine, vae_parameters=weights)
        assert (memory, price) == (f"{cost.memory.total / 1e9:.1f}", f"{cost.dollars:,.0f}"), name
        assert cost.fits


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx6000ada"),
    ],
)
def test_a_card_is_known_by_the_name_that_cuda_gives_it(name: str, card: str) -> None:
    assert card_of(name) is CARDS[card] and card_of("Voodoo 2") is None
