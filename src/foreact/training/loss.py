"""The loss: squared error of both streams' velocities. Source: LingBot-VA, L = L_dyn + lambda * L_inv.

In forward dynamics mode it is the video's alone: all actions are given, and what is given counts for nothing.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from foreact.data.batch import Batch
from foreact.training.corruption import CorruptedBatch, CorruptedStream
from foreact.transformer.attention import JointAttention, training_attention
from foreact.transformer.joint_layer import TextTokens
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import TextContext, WorldActionModel
from foreact.transformer.tokens import StreamInput, patchify


@dataclass(frozen=True)
class Losses:
    """Per-sample losses, each a mean over what is valid in the sample."""

    dynamics: Float[Tensor, " batch"]
    """Of imagined video: L_dyn, or L_fdm in forward dynamics mode; zero for a policy that does not imagine."""
    inverse: Float[Tensor, " batch"]
    """Of actions, L_inv; zero in forward dynamics mode."""


def velocity_losses(
    model: WorldActionModel,
    batch: Batch,
    corrupted: CorruptedBatch,
    text: TextContext | TextTokens,
    layout: ChunkLayout,
    *,
    attention: JointAttention | None = None,
    recompute: bool = False,
) -> Losses:
    """Return both losses after one teacher-forced forward over whole sequences.

    Args:
        model: The network.
        batch: For what is valid.
        corrupted: What goes in and what should come out.
        text: Instructions, dropped ones empty.
        layout: Who sees whom.
        attention: Under which mask; by default the fastest on the device.
        recompute: See `BatchConfig`.
    """
    device = batch.latents.device
    video, action = network_inputs(model, corrupted, layout)
    attention = attention or training_attention(layout, device)
    num_noisy = layout.num_frames - 1
    wanted = (num_noisy if layout.imagines else 0, num_noisy)
    velocities = model(video, action, text, attention, recompute=recompute, num_wanted=wanted)
    action_error = (velocities[1].float() - corrupted.action.velocity) ** 2
    counted = (batch.action_valid[:, 1:] & ~corrupted.action_given)[..., None] & batch.channel_mask[:, None, None]
    inverse = _masked_mean(action_error, counted)
    if not layout.imagines:
        return Losses(dynamics=torch.zeros(len(inverse), device=device), inverse=inverse)
    target = patchify(corrupted.video.velocity.transpose(1, 2), model.config.patch_size)
    video_error = (velocities[0].float() - target) ** 2
    dynamics = _masked_mean(video_error, batch.frame_valid[:, 1:, None, None])
    return Losses(dynamics=dynamics, inverse=inverse)


def network_inputs(
    model: WorldActionModel, corrupted: CorruptedBatch, layout: ChunkLayout
) -> tuple[StreamInput, StreamInput]:
    """Return both streams packed as the training mask expects: the noisy copy, then the clean one.

    The canvas and the actions of a latent frame are the batch's own: robots that learn together differ in both.
    """
    device = corrupted.action.clean.device
    latents, video_time = _pack(corrupted.video, layout.imagines)
    actions, action_time = _pack(corrupted.action, True)
    video = StreamInput(
        values=patchify(latents.transpose(1, 2), model.config.patch_size),
        flow_time=video_time,
        rotary=model.video_rotary(layout.video_frames, device, canvas=latents.shape[-2:]),
    )
    action_rotary = model.action_rotary(layout.action_frames, device, actions_per_frame=actions.shape[2])
    return video, StreamInput(values=actions, flow_time=action_time, rotary=action_rotary)


def _pack(stream: CorruptedStream, with_noisy: bool) -> tuple[Tensor, Tensor]:
    """Return (values, flow times), the noisy copy before the clean one."""
    copies = [(stream.noisy, stream.noisy_time)] if with_noisy else []
    copies.append((stream.clean, stream.clean_time))
    if any(times.ndim == 3 for _, times in copies):
        copies = [(values, _per_token(times, values.shape[2])) for values, times in copies]
    values, times = (torch.cat(parts, dim=1) for parts in zip(*copies, strict=True))
    return values, times


def _per_token(times: Tensor, num_tokens: int) -> Float[Tensor, "batch frames tokens"]:
    return times if times.ndim == 3 else times[..., None].expand(-1, -1, num_tokens)


def _masked_mean(error: Tensor, counted: Tensor) -> Float[Tensor, " batch"]:
    """Return each sample's mean over what counts; 0 where nothing does."""
    counted = counted.expand(error.shape)
    total = (error * counted).flatten(1).sum(1)
    return total / counted.flatten(1).sum(1).clamp(min=1)
