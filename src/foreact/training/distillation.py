"""Consistency distillation: a policy that computes a chunk in one or two steps, learned from one that takes many.

A solver goes from noise to data in steps along the teacher's velocity. The student learns to make the whole way from
any place on it at once. At a place x of flow time s, one step of the solver along the teacher's velocity v leads to x'
of flow time s'. From there on the student's own moving average says which velocity v' leads to the end, at flow time
e; so from x on the mean velocity is

    ((s' - s) v + (e - s') v') / (e - s)

and that is what the student is to come out with at x. From the last step backwards to the first, this carries the
solver's end point to its beginning. At s = 0 the student then goes from noise to the end in one step, where the
teacher's velocity alone would lead to the mean of all futures.

The history is the recorded one in either case, under the same mask as in training, which is what cached inference sees:
no episode has to be run. Both streams are distilled at once, each along the steps of its own solver.

Source: Song et al., Consistency Models (arXiv 2303.01469), algorithm 2, in terms of velocities on the straight path.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from foreact.codecs.text import TextEncoder
from foreact.data.episodes import EpisodeDataset
from foreact.errors import ConfigurationError
from foreact.flow.guidance import guide
from foreact.folders import only_writer
from foreact.policy.inference import InferenceConfig
from foreact.policy.policy import Policy
from foreact.training.corruption import CorruptedBatch, CorruptedStream, CorruptionConfig
from foreact.training.loss import network_inputs
from foreact.training.optimization import OptimizationConfig
from foreact.training.ranks import check_alone
from foreact.training.recipe import Recipe
from foreact.training.robots import load_training_data
from foreact.training.run import Progress, Run
from foreact.training.state import TrainingState
from foreact.training.step import BatchConfig
from foreact.transformer.attention import training_attention
from foreact.transformer.joint_layer import TextTokens
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import WorldActionModel
from foreact.transformer.tokens import unpatchify

NUM_VIDEO_STEPS = 2
"""Of the distilled policy's own schedule; with one action step. See `schedules` for fewer."""


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a policy is distilled."""

    num_steps: int = 1000
    """Optimiser steps in all."""
    global_batch: int = 8
    """Sequences per optimiser step."""
    micro_batch: int = 8
    """Sequences per forward; changes memory and speed, not the result."""
    max_frames: int = 48
    """Longest sequence, latent frames; longer episodes are cropped at random."""
    learning_rate: float = 5e-4
    """AdamW's at the end of the warm-up; far below a training's, for the weights are nearly right."""
    ema_decay: float = 0.98
    """Of the moving average that the student learns from. It has to follow: what is learned at one step of the solver
    reaches the step before it through the average."""
    noisy_history_probability: float = 0.5
    """Of a chunk's clean video being replaced by a half-denoised one, as in training: actions are to go on reading
    videos that are not perfect, as the student's own are not."""
    num_held_out: int = 5
    """Last episodes of every dataset that are judged, and not learned from."""
    save_every: int = 100
    """Steps between checkpoints."""
    eval_every: int = 250
    """Steps between measurements on held-out episodes."""
    seed: int = 0
    """Of every draw."""

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigurationError("num_steps", got=self.num_steps, allowed="1 or more")


def distill(
    policy: Policy,
    source: str,
    datasets: list[EpisodeDataset],
    folder: Path,
    config: DistillationConfig | None = None,
    *,
    latents: Path | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Progress]:
    """Distil a policy, yielding after every step; carry on exactly where an interrupted call stopped.

    `folder` gets what `foreact.training.run.train` writes: `policy/`, the state to resume from, logs.

    Args:
        policy: The teacher, on the schedule that is to be distilled: steps, guidance and where imagining stops.
        source: Where it came from, to be kept with the distilled policy.
        datasets: Of the robot it drives, with latents of its video VAE cached.
        folder: Of the run.
        config: How; None: the defaults.
        latents: Folder of the latents, if not with the datasets.
        device: Where to train.

    Raises:
        CheckpointError: `folder` holds a run of other settings, or a damaged one.
        ConfigurationError: The policy is held in 8 bits or trained as the published ones were, this is one of several
            processes, or somebody else writes to `folder`.
        DatasetError: See `load_training_data`.
        TrainingError: A loss or gradient is no finite number.
    """
    check_alone("a distillation")
    config = config or DistillationConfig()
    _check_can_be_taught(policy)
    recipe = distillation_recipe(policy, config)
    with only_writer(folder):
        data = load_training_data(recipe, datasets, policy.networks.vae, latents=latents, codec=policy.codec)
        teacher = policy.networks.model.to(device)
        student = copy.deepcopy(teacher).train().requires_grad_(True)
        networks = replace(policy.networks, model=student)
        networks.vae.to(device).eval()

        def make_targets(state: TrainingState) -> ConsistencyTargets:
            averaged = cast("WorldActionModel", state.averaged_model())
            return ConsistencyTargets(teacher, averaged, policy.networks.text_encoder, policy.config)

        origin = {"distilled_from": source, "weights": policy.digest()}
        run = Run(recipe, data, networks, folder, origin, make_targets)
        run.resume()
        yield from run.steps()


def _check_can_be_taught(policy: Policy) -> None:
    if policy.config.trained.first_frame == "chunk":
        raise ConfigurationError(
            "policy to distil",
            got="one whose first frame stands in the first chunk, as in the published weights",
            allowed="one whose first frame is history",
            cure="train from those weights first (foreact init, foreact train), and distil the result",
        )
    held = {value.dtype for value in policy.networks.model.parameters()}
    if held != {torch.float32}:
        got = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in held))
        raise ConfigurationError(
            "weights of the policy to distil", got=got, allowed="float32", cure="load it with dtype float32"
        )


def distilled_settings(config: InferenceConfig) -> InferenceConfig:
    """Return how a distilled policy computes its chunks: two video steps, one action step, guidance inside."""
    few = {"action_steps": 1, "video_guidance": 1.0, "action_guidance": 1.0}
    if config.trained.imagines:
        few |= {"video_steps": NUM_VIDEO_STEPS, "video_steps_executed": None, "s_stop": config.video_times[-1]}
    return replace(config, trained=replace(config.trained, few_steps=True), **few)


def distillation_recipe(policy: Policy, config: DistillationConfig) -> Recipe:
    """Return the settings of the training that a distillation is: what the policy can do, it goes on doing."""
    inference = policy.config
    corruption = CorruptionConfig(
        video_shift=inference.trained.video_shift,
        action_shift=inference.trained.action_shift,
        video_times=tuple(inference.video_times) if inference.trained.imagines else (),
        action_times=tuple(inference.action_times),
        noisy_history_probability=config.noisy_history_probability,
        text_dropout=0.0,  # guidance is inside the student; it is never asked without its instruction
        forward_dynamics_probability=0.3 if inference.trained.forward_dynamics else 0.0,
        action_prefix_probability=0.5 if inference.trained.action_prefixes else 0.0,
    )
    chunk = inference.latent_frames_per_chunk
    return Recipe(
        embodiment=policy.embodiment.name,
        layout=policy.embodiment.layout,
        transformer=policy.networks.model.config,
        corruption=corruption,
        batch=BatchConfig(
            global_batch=config.global_batch,
            micro_batch=config.micro_batch,
            max_frames=config.max_frames,
            max_chunk=chunk,
            window=(min(chunk, inference.window), inference.window),
            imagines=inference.trained.imagines,
        ),
        optimization=OptimizationConfig(
            num_steps=config.num_steps,
            learning_rate=config.learning_rate,
            warmup_steps=min(50, config.num_steps),
            ema_decay=config.ema_decay,
        ),
        inference=distilled_settings(inference).choices,
        num_held_out=config.num_held_out,
        save_every=config.save_every,
        eval_every=config.eval_every,
        seed=config.seed,
    )


class ConsistencyTargets:
    """Replaces the velocities of a noised batch by those that lead to the end of the teacher's solver at once."""

    def __init__(
        self,
        teacher: WorldActionModel,
        averaged: WorldActionModel,
        text_encoder: TextEncoder,
        config: InferenceConfig,
    ):
        """Keep everything.

        Args:
            teacher: Says where one step of the solver leads.
            averaged: The student's moving average; its weights change from step to step.
            text_encoder: For the empty instruction, where the teacher is guided.
            config: The teacher's: the steps of its solver, and its guidance.
        """
        self._teacher, self._averaged, self._text_encoder, self._config = teacher, averaged, text_encoder, config

    @torch.no_grad()
    def __call__(self, corrupted: CorruptedBatch, text: TextTokens, layout: ChunkLayout) -> CorruptedBatch:
        """Return the batch with the student's targets as its velocities; all else is as it was."""
        config = self._config
        now = (corrupted.video, corrupted.action)
        ways = [
            _Way(stream, times) for stream, times in zip(now, (_video_times(config), config.action_times), strict=True)
        ]
        stepping = self._taught(corrupted, text, layout)
        later = [way.step(stream, velocity) for way, stream, velocity in zip(ways, now, stepping, strict=True)]
        moved = replace(corrupted, video=later[0], action=later[1])
        going_on = self._velocities(self._averaged, moved, text, layout)
        video, action = (
            way.mean_velocity(stream, *pair) for way, stream, *pair in zip(ways, now, stepping, going_on, strict=True)
        )
        return replace(corrupted, video=video, action=action)

    def _taught(self, corrupted: CorruptedBatch, text: TextTokens, layout: ChunkLayout) -> tuple[Tensor | None, Tensor]:
        """Return the teacher's velocities of both streams, guided as the teacher is."""
        config, teacher = self._config, self._teacher
        video, action = self._velocities(teacher, corrupted, text, layout)
        scales = (config.video_guidance, config.action_guidance)
        if scales == (1, 1):
            return video, action
        empty = self._text_encoder.encode([""] * len(action))
        without = teacher.prepare_text(empty.tokens.to(action.device), empty.lengths.to(action.device))
        free_video, free_action = self._velocities(teacher, corrupted, without, layout)
        if video is not None and free_video is not None:
            video = guide(video, free_video, scales[0])
        return video, guide(action, free_action, scales[1])

    def _velocities(
        self, model: WorldActionModel, corrupted: CorruptedBatch, text: TextTokens, layout: ChunkLayout
    ) -> tuple[Tensor | None, Tensor]:
        """Return a network's velocities of the noisy copies, shaped like them; no video if none is imagined."""
        inputs = network_inputs(model, corrupted, layout)
        num_noisy = layout.num_frames - 1
        wanted = (num_noisy if layout.imagines else 0, num_noisy)
        attention = training_attention(layout, corrupted.action.noisy.device)
        tokens, action = model(*inputs, text, attention, num_wanted=wanted)
        action = action.float() * corrupted.channel_mask[:, None, None]
        if not layout.imagines:
            return None, action
        height, width = corrupted.video.clean.shape[-2:]
        return unpatchify(tokens.float(), height, width, model.config.patch_size).transpose(1, 2), action


def _video_times(config: InferenceConfig) -> list[float]:
    return config.video_times if config.trained.imagines else [0.0, 1.0]


class _Way:
    """A solver's flow times, and where the tokens of one stream are among them."""

    def __init__(self, stream: CorruptedStream, times: list[float]):
        visited = torch.tensor(times, device=stream.noisy_time.device)
        place = (stream.noisy_time[..., None] - visited).abs().argmin(-1)
        self._end = times[-1]
        self._now = stream.noisy_time
        # What is given, not noisy, is at flow time 1, and stays there.
        self._later = torch.maximum(visited[(place + 1).clamp(max=len(times) - 1)], self._now)

    def step(self, stream: CorruptedStream, velocity: Tensor | None) -> CorruptedStream:
        """Return the stream one step of the solver on."""
        if velocity is None:
            return stream
        moved = stream.noisy + _spread(self._later - self._now, velocity) * velocity
        return replace(stream, noisy=moved, noisy_time=self._later)

    def mean_velocity(self, stream: CorruptedStream, first: Tensor | None, rest: Tensor | None) -> CorruptedStream:
        """Return the stream with the velocity that leads to the end at once: the mean of a step's and the rest's."""
        if first is None or rest is None:
            return stream
        whole = (self._end - self._now).clamp(min=1e-6)  # 0 for what is given, which counts for nothing
        share = ((self._later - self._now) / whole).clamp(0, 1)
        share = _spread(share, first)
        return replace(stream, velocity=share * first + (1 - share) * rest)


def _spread(times: Tensor, like: Tensor) -> Tensor:
    """Return flow times with as many axes as what they are to be multiplied with."""
    return times.reshape(times.shape + (1,) * (like.ndim - times.ndim))
