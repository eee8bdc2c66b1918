"""Where a policy looks when it decides an action: in its memory of the cameras, and in what it imagines."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from foreact.errors import InputError
from foreact.flow.path import point_on_path
from foreact.policy.policy import Policy
from foreact.policy.session import Session
from foreact.policy.together import Together
from foreact.transformer.attention_weights import RecordingAttention

SEED = 0
"""Of the noise of the extra pass, the same every time: pictures differ only where the policy looks elsewhere."""


@dataclass(frozen=True, kw_only=True)
class ActionAttention:
    """Attention of one action token, averaged over heads and layers. Everything together sums to 1."""

    remembered: Float[Tensor, "frames rows columns"]
    """On the video tokens of each latent frame in the cache, the oldest first."""
    remembered_frames: tuple[int, ...]
    """Their numbers in the session, 0 for the first one."""
    imagined: Float[Tensor, "imagined rows columns"]
    """On the video tokens of the chunk that was imagined; no frames if the policy imagines nothing."""
    past_actions: float
    """On the actions that were executed before."""
    own_actions: float
    """On the actions of the chunk itself."""


@torch.no_grad()
def action_attention(policy: Policy, session: Session, *, action: int = 0) -> ActionAttention:
    """Return where a policy looked for an action of the chunk that it predicted last, by one extra pass.

    The pass is the last denoising step of the actions, with noise drawn anew: the predicted actions, as noisy as that
    step sees them, while the cache holds the history and the finished video. The session stays as it is.

    Args:
        policy: Predicted the chunk.
        session: Right after `predict`, while nothing was under way.
        action: Number of the action in the chunk.

    Raises:
        InputError: No chunk was predicted, or it has no such action.
    """
    prediction, rollout, predictor = session.prediction, session.rollout, policy.predictor
    if prediction is None or rollout.num_frames_at_head:
        raise InputError("attention", got="no chunk after the first observation", cure="call predict() before")
    if not 0 <= action < prediction.actions.shape[0] * prediction.actions.shape[1]:
        allowed = f"0 to {prediction.actions.shape[0] * prediction.actions.shape[1] - 1}"
        raise InputError("action of the chunk", got=action, allowed=allowed)
    config, num_frames = policy.config, len(prediction.actions)
    together = Together([rollout], predictor.model, num_frames)
    recording = RecordingAttention(rollout.cache)
    try:
        if prediction.latents is not None:
            video = predictor._tokens(prediction.latents[None])
            together.keep("video", video, config.video_times[-1], rows=config.rows)
            rollout.cache.append_imagined(video.shape[1] * video.shape[2])
        origin = predictor._origins([rollout.last_action])[0]
        clean = prediction.actions[None].to(predictor.device) - origin
        flow_time = torch.full((1, 1), config.action_times[-2], device=predictor.device)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(SEED)).to(predictor.device)
        point = point_on_path(noise * predictor.channel_mask, clean, flow_time)
        given = together.stream_input("action", point, flow_time, 1)
        predictor.model(None, given, together.text(1), recording)
        seen = rollout.cache.seen_by_actions(num_frames)
    finally:
        rollout.cache.drop_imagined()
    token = action // predictor.model.config.actions_per_token
    weights = torch.stack([layer[0, :, token].mean(0) for layer in recording.weights]).mean(0).cpu()
    return _sorted(policy, weights, seen, first_imagined=rollout.cache.num_observed)


def _sorted(
    policy: Policy, weights: Tensor, seen: list[tuple[int, bool, int]], *, first_imagined: int
) -> ActionAttention:
    """Return the weights put where they belong: into pictures, or to actions before and in the chunk."""
    sizes = policy.networks.model.config
    rows, columns = (side // sizes.patch_size for side in sizes.canvas)
    frames = sorted({frame for frame, is_action, _ in seen if not is_action})
    maps = {frame: torch.zeros(rows * columns) for frame in frames}
    actions = {True: 0.0, False: 0.0}
    for weight, (frame, is_action, token) in zip(weights.tolist(), seen, strict=True):
        if is_action:
            actions[frame < first_imagined] += weight
        else:
            maps[frame][token] += weight
    remembered = [frame for frame in frames if frame < first_imagined]
    imagined = [frame for frame in frames if frame >= first_imagined]

    def pictures(numbers: list[int]) -> Tensor:
        stacked = torch.stack([maps[number] for number in numbers]) if numbers else torch.zeros(0, rows * columns)
        return stacked.unflatten(1, (rows, columns))

    return ActionAttention(
        remembered=pictures(remembered),
        remembered_frames=tuple(remembered),
        imagined=pictures(imagined),
        past_actions=actions[True],
        own_actions=actions[False],
    )
