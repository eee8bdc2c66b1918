"""What a run is judged by while it goes on: held-out episodes, predicted chunk by chunk from their real history."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foreact.data.batch import TrainingSequence
from foreact.policy.disagreement import frame_distances
from foreact.policy.policy import Policy
from foreact.policy.rollout import Prediction, Rollout
from foreact.policy.viewer import Frames, LatentViewer, hold_last, moving_frames, psnr_db, squared_errors

RARELY = 0.99


@dataclass(frozen=True, kw_only=True)
class OpenLoopError:
    """Means over all chunks of some held-out episodes. Predictions are never executed: history stays the recorded one.

    Pictures are compared over frames in which something moves, as the VAE shows both sides. What was repeated past an
    episode's end counts for nothing.
    """

    action_error: float
    """Mean absolute error of decoded actions, in model units (the 1 % to 99 % range of an action is 2)."""
    imagination_psnr_db: float | None = None
    """Of imagined frames; None for a policy that does not imagine."""
    last_frame_psnr_db: float | None = None
    """Of the last real frame, held still."""
    disagreement: float | None = None
    """Distance of a latent frame from its imagination that 99 of 100 do not exceed: a policy that finds a greater one
    at work is not where it was trained."""


@torch.no_grad()
def open_loop_error(policy: Policy, sequences: list[TrainingSequence], *, seed: int) -> OpenLoopError:
    """Return how far the policy's predictions are from what was recorded.

    Args:
        policy: To be judged.
        sequences: Held-out.
        seed: Of the noise predictions start from.
    """
    mask = torch.from_numpy(policy.codec.mask.copy())
    action_errors, imagined, held, distances = [], [], [], []
    for index, sequence in enumerate(sequences):
        viewer = LatentViewer(policy.networks.vae, policy.embodiment.layout)
        last = viewer.show(sequence.latents[:, :1])
        for now, prediction in predict_chunks(policy, sequence, seed=seed + index):
            actual = (sequence.action_valid[now, :, None] & mask).expand_as(prediction.actions)
            action_errors.append((prediction.actions - sequence.actions[now]).abs()[actual].mean().item())
            if prediction.latents is None:
                continue
            valid = sequence.frame_valid[now]
            distances.extend(frame_distances(prediction.latents, sequence.latents[:, now])[valid].tolist())
            guess, real = viewer.peek(prediction.latents), viewer.show(sequence.latents[:, now])
            counted = counted_frames(policy, valid, real, last)
            still = hold_last(last, len(counted))
            imagined.extend(squared_errors(guess, real)[counted])
            held.extend(squared_errors(still, real)[counted])
            last = real
    return OpenLoopError(
        action_error=float(np.mean(action_errors)),
        imagination_psnr_db=psnr_db(float(np.mean(imagined))) if imagined else None,
        last_frame_psnr_db=psnr_db(float(np.mean(held))) if held else None,
        disagreement=float(np.quantile(distances, RARELY)) if distances else None,
    )


def counted_frames(policy: Policy, valid: Tensor, real: Frames, last: Frames) -> np.ndarray:
    """Return bool [time]: camera frames of latent frames that are valid, and unlike the last one before them."""
    return moving_frames(real, last) & np.repeat(valid.numpy(), policy.embodiment.timing.vae_factor)


def predict_chunks(policy: Policy, sequence: TrainingSequence, *, seed: int) -> Iterator[tuple[slice, Prediction]]:
    """Yield (latent frames, prediction) of every whole chunk of a recorded episode, each from its real history."""
    for now, rollout in relive(policy, sequence, seed=seed):
        yield now, policy.predictor.predict(rollout)


def relive(
    policy: Policy, sequence: TrainingSequence, *, seed: int, window: int | None = None
) -> Iterator[tuple[slice, Rollout]]:
    """Yield (latent frames, rollout) before every whole chunk of a recorded episode, all before it committed as real.

    Between two chunks the rollout may be asked anything; it must not be committed to. Of the history it keeps `window`
    latent frames; None: as many as the policy is configured for.
    """
    predictor, encode = policy.predictor, policy.networks.text_encoder.encode
    rollout = predictor.start(encode([sequence.instruction]), encode([""]), seed=seed, window=window)
    predictor.append_observed(rollout, sequence.latents[:, :1], sequence.executed[:1])
    for now in whole_chunks(sequence, policy.config.latent_frames_per_chunk):
        yield now, rollout
        predictor.append_observed(rollout, sequence.latents[:, now], sequence.executed[now])


def whole_chunks(sequence: TrainingSequence, frames_per_chunk: int) -> Iterator[slice]:
    """Yield the latent frames of every whole chunk after the first frame, which is observed alone."""
    for start in range(1, sequence.num_frames - frames_per_chunk + 1, frames_per_chunk):
        yield slice(start, start + frames_per_chunk)
