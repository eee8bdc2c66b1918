"""One optimiser step: the global batch drawn, noised, pushed through in micro-batches, and learned from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from foreact.codecs.text import TextEncoder
from foreact.data.batch import Batch, SequenceSampler, TrainingSequence, collate
from foreact.errors import ConfigurationError
from foreact.trace import Trace
from foreact.training.corruption import CorruptedBatch, CorruptedStream, CorruptionConfig, corrupt
from foreact.training.guard import check_gradient, check_losses
from foreact.training.loss import Losses, velocity_losses
from foreact.training.optimization import OptimizationConfig, update_ema
from foreact.training.ranks import Ranks
from foreact.training.sharding import whole
from foreact.training.state import TrainingState
from foreact.transformer.joint_layer import TextTokens
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import WorldActionModel

LAYOUT_STREAM = 1
"""Sets the draw of a step's chunk and window apart from the draws of its samples."""
MODE_STREAM = 2
"""Likewise the draw of a sample's mode."""


Targets = Callable[[CorruptedBatch, TextTokens, ChunkLayout], CorruptedBatch]
"""Replaces the velocities that the network should come out with: distillation's are not those of the data."""


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How much is learned from at once. The global batch is the setting; accumulation follows from it."""

    global_batch: int = 32
    """Sequences per optimiser step, on however many devices."""
    micro_batch: int = 8
    """Sequences per forward; changes memory and speed, not the result."""
    max_frames: int = 48
    """Longest sequence, latent frames; longer episodes are cropped at random."""
    max_chunk: int = 4
    """K is drawn from 1 to this for every step."""
    window: tuple[int, int] = (4, 64)
    """History window in latent frames: drawn between these for every step."""
    inverse_weight: float = 1.0
    """Lambda, of the actions' loss."""
    imagines: bool = True
    """False trains the reactive baseline: no video is predicted, actions come from the history."""
    recompute: bool = False
    """Keep only the tokens between layers for the backward pass, and run each layer again in it: a fraction of the
    memory for a forward pass more, a third of the operations. The losses and gradients are the same."""

    def __post_init__(self) -> None:
        for name in ("global_batch", "micro_batch", "max_chunk"):
            if getattr(self, name) < 1:
                raise ConfigurationError(name, got=getattr(self, name), allowed="1 or more")
        if self.max_frames < 2:
            raise ConfigurationError("max_frames", got=self.max_frames, allowed="2 or more")
        if not 1 <= self.window[0] <= self.window[1]:
            raise ConfigurationError("window", got=self.window, allowed="1 <= least <= greatest")


@dataclass(frozen=True)
class StepResult:
    """Means over the global batch."""

    loss: float
    dynamics: float
    """Of imagined video, where no actions are given."""
    forward_dynamics: float
    """Of video imagined from given actions; a sample has this loss or the other two."""
    inverse: float
    """Of decoded actions."""


class Learner:
    """Computes the loss of any step's global batch: a function of the weights, the seed and the step alone."""

    def __init__(
        self,
        model: WorldActionModel,
        sampler: SequenceSampler,
        text_encoder: TextEncoder,
        *,
        batch: BatchConfig,
        corruption: CorruptionConfig,
        seed: int,
        bfloat16: bool = False,
        targets: Targets | None = None,
        ranks: Ranks | None = None,
    ):
        """Keep everything; draw nothing yet.

        Args:
            model: Learns, in place.
            sampler: Draws sequences.
            text_encoder: Frozen.
            batch: How much at once.
            corruption: What is done to it.
            seed: Of all draws.
            bfloat16: Run the network in bfloat16 (weights stay float32).
            targets: What the network learns instead of the data's velocities; None: those.
            ranks: The processes that share the global batch; None: this one alone.
        """
        self._ranks = ranks or Ranks()
        self._targets = targets
        self._model, self._sampler, self._text_encoder = model, sampler, text_encoder
        self._batch, self._corruption, self._seed, self._bfloat16 = batch, corruption, seed, bfloat16
        self._device = next(model.parameters()).device
        self._trace, self._num_tokens = Trace(), 0

    def take_effort(self) -> tuple[int, float]:
        """Return what this process has done since it was last asked: tokens of batches, seconds spent making them.

        Tokens are those that pass through the network, noisy and clean copies and padding among them. While a batch is
        made the device has nothing to do but what it was given before.
        """
        num_tokens, self._num_tokens = self._num_tokens, 0
        return num_tokens, self._trace.take().get("data", 0.0) / 1e3

    def accumulate_gradients(self, step: int) -> StepResult:
        """Add the gradients of the step's mean loss to the weights' `.grad`; return the losses.

        A micro-batch holds sequences of one mode, since all of it runs under one mask, of one canvas and rate, and
        of like length, which saves padding; none of it changes anything else. Of several processes each takes its share
        of the micro-batches, and the losses are those of all; sharded weights get the sum of all gradients.
        """
        config, ranks = self._batch, self._ranks
        sequences = [self._sampler.draw(step, index) for index in range(config.global_batch)]
        dynamics, forward_dynamics_loss, inverse = (torch.zeros((), device=self._device) for _ in range(3))
        for forward_dynamics, indices, weight in self._my_micro_batches(sequences, step):
            chosen = [sequences[index] for index in indices]
            losses = self.losses(chosen, indices, step, forward_dynamics=forward_dynamics)
            each = losses.dynamics + config.inverse_weight * losses.inverse
            check_losses(each, chosen, step)
            # Sharding takes the mean of the processes' gradients, where their sum is wanted.
            loss = weight * ranks.world * each.sum() / config.global_batch
            loss.backward()
            (forward_dynamics_loss if forward_dynamics else dynamics).add_(weight * losses.dynamics.detach().sum())
            inverse.add_(weight * losses.inverse.detach().sum())
        sums = ranks.sum(torch.stack([dynamics, forward_dynamics_loss, inverse]))  # the step's one wait for the device
        dynamics, forward, inverse = (sums / config.global_batch).tolist()
        return StepResult(dynamics + forward + config.inverse_weight * inverse, dynamics, forward, inverse)

    def _my_micro_batches(
        self, sequences: list[TrainingSequence], step: int
    ) -> Iterator[tuple[bool, list[int], float]]:
        """Yield (forward dynamics, indices, weight) of this process's micro-batches: equally many for every process.

        Processes gather weights from each other in every pass, so that all have to make as many passes. Who has
        nothing left to do repeats the first micro-batch, with weight 0.
        """
        ranks, units = self._ranks, list(self._micro_batches(sequences, step))
        for number in range(ranks.rank, -(-len(units) // ranks.world) * ranks.world, ranks.world):
            yield (*units[number], 1.0) if number < len(units) else (*units[0], 0.0)

    def _micro_batches(self, sequences: list[TrainingSequence], step: int) -> Iterator[tuple[bool, list[int]]]:
        """Yield (whether in forward dynamics mode, indices) of each micro-batch of a global batch."""
        groups: dict[tuple[bool, tuple[int, ...]], list[int]] = {}
        for index in sorted(range(len(sequences)), key=lambda index: sequences[index].num_frames):
            mode = self._is_forward_dynamics(step, index)
            groups.setdefault((mode, sequences[index].shape_of_frame), []).append(index)
        size = self._batch.micro_batch
        for mode, shape in sorted(groups):
            indices = groups[mode, shape]
            for start in range(0, len(indices), size):
                yield mode, indices[start : start + size]

    def _is_forward_dynamics(self, step: int, index: int) -> bool:
        rng = np.random.default_rng([MODE_STREAM, self._seed, step, index])
        return bool(rng.random() < self._corruption.forward_dynamics_probability)

    def losses(
        self, sequences: list[TrainingSequence], indices: list[int], step: int, *, forward_dynamics: bool = False
    ) -> Losses:
        """Return per-sample losses of some samples of a step's global batch.

        Args:
            sequences: The samples.
            indices: Which samples they are: they seed the noise.
            step: Likewise.
            forward_dynamics: Whether video is imagined from given actions, instead of actions from imagined video.
        """
        with self._trace.span("data"):
            batch, corrupted, text, layout = self._make_batch(sequences, indices, step, forward_dynamics)
        self._num_tokens += self._count_tokens(batch, layout)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            return velocity_losses(
                self._model,
                batch,
                corrupted if self._targets is None else self._targets(corrupted, text, layout),
                text,
                layout,
                recompute=self._batch.recompute,
            )

    def _count_tokens(self, batch: Batch, layout: ChunkLayout) -> int:
        """Return the tokens of a batch, whose canvas and action rate may be another robot's than the network's own."""
        sizes, (height, width) = self._model.config, batch.latents.shape[-2:]
        video = height * width // sizes.patch_size**2
        action = batch.actions.shape[2] // sizes.actions_per_token
        tokens = len(layout.video_frames) * video + len(layout.action_frames) * action
        return len(batch.latents) * tokens

    def _make_batch(
        self, sequences: list[TrainingSequence], indices: list[int], step: int, forward_dynamics: bool
    ) -> tuple[Batch, CorruptedBatch, TextTokens, ChunkLayout]:
        """Return some samples of a step as they enter the network, on its device."""
        chunk, window = self._draw_layout(step)
        batch = collate([sequence.fill_chunks(chunk) for sequence in sequences])
        layout = ChunkLayout(
            num_frames=batch.num_frames,
            frames_per_chunk=chunk,
            window=window,
            imagines=self._batch.imagines,
            forward_dynamics=forward_dynamics,
        )
        generators = [torch.Generator().manual_seed(_mix(self._seed, step, index)) for index in indices]
        corrupted = corrupt(
            batch,
            layout,
            self._corruption,
            generators,
            max_frames=self._batch.max_frames + self._batch.max_chunk,
            relative_actions=self._model.config.relative_actions,
            actions_per_token=self._model.config.actions_per_token,
        )
        text = self._text(batch.instructions, corrupted.text_dropped)
        return _to(batch, self._device), _to(corrupted, self._device), text, layout

    def _draw_layout(self, step: int) -> tuple[int, int]:
        """Return (latent frames per chunk, window) of a step."""
        rng = np.random.default_rng([LAYOUT_STREAM, self._seed, step])
        least, greatest = self._batch.window
        return int(rng.integers(1, self._batch.max_chunk + 1)), int(rng.integers(least, greatest + 1))

    def _text(self, instructions: tuple[str, ...], dropped: torch.Tensor) -> TextTokens:
        kept = ["" if drop else text for text, drop in zip(instructions, dropped.tolist(), strict=True)]
        embedding = self._text_encoder.encode(kept)
        return self._model.prepare_text(embedding.tokens.to(self._device), embedding.lengths.to(self._device))


def take_step(state: TrainingState, learner: Learner, config: OptimizationConfig) -> tuple[StepResult, float]:
    """Take the next optimiser step, in place; return its losses and the norm of its gradient before clipping."""
    for group in state.optimizer.param_groups:
        group["lr"] = group["lr_scale"] * config.learning_rate_at(state.step)
    state.optimizer.zero_grad(set_to_none=True)
    result = learner.accumulate_gradients(state.step)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.max_grad_norm)
    norm = whole(norm)
    check_gradient(norm, state.step)
    state.optimizer.step()
    update_ema(state.ema.values(), state.weights.values(), config.ema_decay_at(state.step))
    state.step += 1
    return result, norm.item()


def _mix(*numbers: int) -> int:
    """Return one seed that depends on all the numbers and on their order."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _to(record, device: torch.device):
    """Return a batch with all its tensors on a device, nested streams included."""
    if device.type == "cpu":
        return record

    def move(value):
        if isinstance(value, torch.Tensor):
            return value.to(device, non_blocking=True)
        return _to(value, device) if isinstance(value, CorruptedStream) else value

    return type(record)(**{name: move(value) for name, value in vars(record).items()})
