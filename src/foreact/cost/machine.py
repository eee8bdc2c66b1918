"""A recipe on a machine: memory of each card, hours and money. All of it is computed and nothing is measured."""

import math
from dataclasses import dataclass

from foreact.cost.cache import cache_size
from foreact.cost.cards import USABLE, UTILIZATION, Card
from foreact.cost.parameters import NetworkParameters
from foreact.cost.streams import stream_sizes
from foreact.cost.subject import NUM_WORD_TOKENS
from foreact.cost.training import FLOAT32, activation_bytes, forward_flops, longest_layout
from foreact.errors import ConfigurationError
from foreact.training.disk import disk_bytes
from foreact.training.methods import AdapterConfig
from foreact.training.recipe import Recipe

BFLOAT16 = 2


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Cards of one kind that train together."""

    card: Card
    """What kind."""
    num_gpus: int
    """How many."""
    price_per_hour: float | None = None
    """US dollars for one card and hour; None: the example of the card's own entry."""
    utilization: float = UTILIZATION
    """Share of the data sheet's operations that training reaches, those of recomputed layers among them."""

    def __post_init__(self) -> None:
        if self.num_gpus < 1:
            raise ConfigurationError("gpus", got=self.num_gpus, allowed="1 or more")
        if not 0 < self.utilization <= 1:
            raise ConfigurationError("utilization", got=self.utilization, allowed="above 0, at most 1")
        if self.price_per_hour is not None and self.price_per_hour < 0:
            raise ConfigurationError("price", got=self.price_per_hour, allowed="0 or more dollars an hour")

    @property
    def price(self) -> float:
        """US dollars for one card and hour."""
        return self.card.price_per_hour if self.price_per_hour is None else self.price_per_hour


@dataclass(frozen=True, kw_only=True)
class CardMemory:
    """Bytes that training holds on one card, the framework's own few hundred MB apart."""

    frozen: int
    """Weights that are not trained."""
    trained: int
    """Weights that are trained, float32; on one card also their copies in bfloat16."""
    gradients: int
    """Float32."""
    moments: int
    """AdamW's two."""
    average: int
    """The moving average of what is trained, unless it lies on the CPU."""
    gathered: int
    """Sharded training only: the whole layers that are at work, and a layer's gradients before they are summed."""
    activations: int
    """What the backward pass needs of one micro-batch."""
    evaluation: int
    """What judging on held-out episodes needs instead of activations: the averaged network, its KV cache and the video
    VAE. 0 where no episodes are held out."""

    @property
    def total(self) -> int:
        """The most that is held at one time."""
        return sum(vars(self).values()) - min(self.activations, self.evaluation)


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """What a training takes, if all sequences are as long as the longest and the assumed utilization is reached."""

    memory: CardMemory
    """Of one card."""
    fits: bool
    """Whether that leaves a tenth of the card free."""
    tokens_per_step: int
    """Of the global batch."""
    flops_per_step: int
    """All passes, recomputed layers among them."""
    step_s: float
    """Seconds for an optimiser step."""
    hours: float
    """For all steps."""
    dollars: float
    """For all cards."""
    disk_bytes: int
    """The states that are kept, one more while it is written, and the policy twice likewise."""


def training_cost(
    recipe: Recipe, parameters: NetworkParameters, machine: Machine, *, vae_parameters: int = 0
) -> TrainingCost:
    """Return what a recipe takes on a machine.

    Args:
        recipe: Any; its text is taken to be a sentence long.
        parameters: Of the recipe's network, from `count_network`.
        machine: Its cards share weights, gradients and moments if there are several.
        vae_parameters: Weights of the video VAE, which shows what was imagined of held-out episodes.
    """
    batch, config = recipe.batch, recipe.transformer
    memory = _card_memory(recipe, parameters, machine, vae_parameters)
    layout = longest_layout(batch, batch.max_chunk)
    tokens = len(layout.video_frames) * config.video_tokens + len(layout.action_frames) * config.action_tokens
    passes = forward_flops(config, layout, text_tokens=NUM_WORD_TOKENS)
    # Forward, and a backward pass of twice as many operations; frozen matrices have no gradient of their own.
    flops = (3 + batch.recompute) * passes - _frozen_gradient_flops(recipe)
    units = math.ceil(batch.global_batch / batch.micro_batch)
    rounds = math.ceil(units / machine.num_gpus)  # cards without a micro-batch left wait
    step_s = rounds * batch.micro_batch * flops / (machine.card.flops_per_s * machine.utilization)
    hours = recipe.optimization.num_steps * step_s / 3600
    return TrainingCost(
        memory=memory,
        fits=memory.total <= USABLE * machine.card.memory_bytes,
        tokens_per_step=batch.global_batch * tokens,
        flops_per_step=batch.global_batch * flops,
        step_s=step_s,
        hours=hours,
        dollars=hours * machine.num_gpus * machine.price,
        disk_bytes=disk_bytes(trained_parameters(recipe, parameters), parameters.total, machine.num_gpus),
    )


def trained_parameters(recipe: Recipe, parameters: NetworkParameters) -> int:
    """Return how many weights a recipe's method trains, those of adapters among them."""
    if recipe.method == "full":
        return parameters.total
    if recipe.method == "action":
        return parameters.action.total
    adapters = parameters.lora_trained - parameters.action.total
    return parameters.action.total + adapters * recipe.adapters.rank // AdapterConfig().rank


def _card_memory(recipe: Recipe, parameters: NetworkParameters, machine: Machine, vae_parameters: int) -> CardMemory:
    trained = trained_parameters(recipe, parameters)
    frozen = 0 if recipe.method == "full" else parameters.video.total
    parts = recipe.parallel.shard or machine.num_gpus
    in_bfloat16 = recipe.precision == "bfloat16"
    is_sharded = machine.num_gpus > 1
    copies = BFLOAT16 if in_bfloat16 and not is_sharded else 0
    return CardMemory(
        frozen=_frozen_bytes(recipe, parameters) // parts,
        trained=(FLOAT32 + copies) * trained // parts,
        gradients=FLOAT32 * trained // parts,
        moments=2 * FLOAT32 * trained // parts,
        average=0 if recipe.average_on_cpu else FLOAT32 * trained // parts,
        gathered=_gathered_bytes(recipe, parameters, trained, frozen) if is_sharded else 0,
        activations=activation_bytes(
            recipe.transformer, recipe.batch, recipe.precision, checkpointing=recipe.batch.recompute
        ),
        evaluation=_evaluation_bytes(recipe, parameters, vae_parameters) if recipe.num_held_out else 0,
    )


def _evaluation_bytes(recipe: Recipe, parameters: NetworkParameters, vae_parameters: int) -> int:
    cache = cache_size(recipe.transformer, recipe.policy_config())
    if recipe.precision == "bfloat16":
        return BFLOAT16 * parameters.total + cache.bfloat16_bytes + FLOAT32 * vae_parameters
    return FLOAT32 * parameters.total + cache.float32_bytes + FLOAT32 * vae_parameters


def _frozen_bytes(recipe: Recipe, parameters: NetworkParameters) -> int:
    """Return the bytes of frozen weights; with `frozen_precision` bfloat16, matrices of layers take half."""
    if recipe.method == "full":
        return 0
    video = parameters.video
    in_layers = video.joint_attention + video.text_attention + video.feed_forward
    size = BFLOAT16 if recipe.frozen_precision == "bfloat16" else FLOAT32
    return FLOAT32 * (video.total - in_layers) + size * in_layers


def _gathered_bytes(recipe: Recipe, parameters: NetworkParameters, trained: int, frozen: int) -> int:
    """Return the bytes of weights that are whole at one time: two layers, and all that is outside of the layers."""
    gathered = BFLOAT16 if recipe.precision == "bfloat16" else FLOAT32
    layer = parameters.layer_matrices // recipe.transformer.num_layers
    outside = parameters.total - parameters.layer_matrices
    summed = layer * trained // (trained + frozen)
    return gathered * (2 * layer + outside) + (gathered + FLOAT32) * summed


def _frozen_gradient_flops(recipe: Recipe) -> int:
    """Return the operations that a backward pass over one sequence saves: the gradients of frozen matrices."""
    if recipe.method == "full":
        return 0
    layout = longest_layout(recipe.batch, recipe.batch.max_chunk)
    sizes = stream_sizes(recipe.transformer, "video")
    frames = len(layout.video_frames)
    products = frames * sizes.tokens * sizes.num_layers * sizes.layer_products
    if recipe.transformer.is_shared:
        products += (
            len(layout.action_frames) * recipe.transformer.action_tokens * sizes.num_layers * sizes.layer_products
        )
    return 2 * products
