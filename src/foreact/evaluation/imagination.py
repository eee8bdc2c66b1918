"""How near imagined pictures came to what the cameras really saw."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from foreact.control.dialogue import Placed
from foreact.evaluation.episodes import EpisodeRecord
from foreact.policy.policy import Policy
from foreact.policy.viewer import Frames, LatentViewer, hold_last, moving_frames, psnr_db, squared_errors


@dataclass(frozen=True)
class FrameErrors:
    """Mean squared errors against the cameras' own pictures, of frames in which something moves."""

    time_s: np.ndarray
    """Since the episode began."""
    imagined: np.ndarray
    """Of the imagined frames."""
    held: np.ndarray
    """Of the last frame before the chunk, held still."""
    chunk_starts_s: np.ndarray
    """When each chunk began."""


class ChunkDecoder:
    """Decodes what the chunks of an episode imagine into camera frames, one after another, while it runs."""

    def __init__(self, policy: Policy, record: EpisodeRecord, *, open_loop: bool = False):
        """Begin before the first chunk.

        Args:
            policy: Decides in this episode.
            record: Of the episode; grows meanwhile.
            open_loop: What was imagined counts as seen: each chunk goes on from the one before.
        """
        self._viewer = LatentViewer(policy.networks.vae, policy.embodiment.layout)
        self._timing, self._record, self._open_loop = policy.embodiment.timing, record, open_loop
        self._num_shown = 0

    def decode(self, placed: Placed) -> Frames | None:
        """Return the frames that a chunk imagines, at the size at which the policy sees; None if it imagines none.

        Args:
            placed: The episode's chunks in their order, each once. What was seen when it was asked for comes before
                it, then the actions under way.
        """
        if placed.chunk.imagined_latents is None:
            return None
        imagined = torch.from_numpy(placed.chunk.imagined_latents)
        if self._open_loop:
            if not self._num_shown:
                self._viewer.show(self._record.seen[0])
                self._num_shown = 1
            return self._viewer.show(imagined)
        per_frame = self._timing.actions_per_latent_frame
        num_begin = 1 + placed.begin_tick // per_frame
        num_seen = num_begin - placed.num_under_way // per_frame
        seen = torch.cat(list(self._record.seen), dim=1)
        if num_seen > self._num_shown:
            self._viewer.show(seen[:, self._num_shown : num_seen])
            self._num_shown = num_seen
        foreseen = placed.chunk.foreseen_latents
        between = seen[:, num_seen:num_begin] if foreseen is None else torch.from_numpy(foreseen)
        skipped = between.shape[1] * self._timing.vae_factor
        ahead = torch.cat([between, imagined], dim=1)
        return {camera: clip[skipped:] for camera, clip in self._viewer.peek(ahead).items()}


def real_and_imagined(policy: Policy, record: EpisodeRecord) -> Iterator[tuple[int, Mapping, Frames | None]]:
    """Yield (chunk number, real frames, imagined frames of the same instants); chunk -1 is the first picture."""
    yield -1, record.clips(0, 1), None
    viewer, seen, num_shown = LatentViewer(policy.networks.vae, policy.embodiment.layout), record.latents, 0
    timing = policy.embodiment.timing
    for number, (placed, steps) in enumerate(record.spans()):
        num_before = 1 + steps.start // timing.actions_per_latent_frame
        viewer.show(seen[:, num_shown:num_before])
        num_shown, latents = num_before, placed.chunk.imagined_latents
        imagined = None if latents is None else viewer.peek(torch.from_numpy(latents))
        real = record.clips(1 + steps.start // timing.camera_stride, 1 + steps.stop // timing.camera_stride)
        if real:
            yield number, real, imagined


def frame_errors(policy: Policy, record: EpisodeRecord) -> FrameErrors:
    """Return the errors of an episode's imagination, at the size at which the policy sees."""
    period_s = 1 / policy.embodiment.timing.camera_hz
    times, imagined_errors, held_errors, starts = [], [], [], []
    number, last = 0, None
    for _, real, imagined in real_and_imagined(policy, record):
        shown = dict(policy.embodiment.layout.pictures(real))
        count = len(next(iter(shown.values())))
        if imagined is not None and last is not None:
            starts.append(number * period_s)
            moving = moving_frames(shown, last)
            guess = {camera: clip[:count] for camera, clip in imagined.items()}
            times.extend((number + np.flatnonzero(moving)) * period_s)
            imagined_errors.extend(squared_errors(guess, shown)[moving])
            held_errors.extend(squared_errors(hold_last(last, count), shown)[moving])
        number, last = number + count, shown
    return FrameErrors(np.array(times), np.array(imagined_errors), np.array(held_errors), np.array(starts))


def mean_psnr_db(errors: list[FrameErrors]) -> tuple[float, float] | None:
    """Return the PSNR of imagined and of held frames over all episodes; None if nothing was imagined or moved."""
    imagined = np.concatenate([e.imagined for e in errors]) if errors else np.empty(0)
    if not len(imagined):
        return None
    return psnr_db(float(imagined.mean())), psnr_db(float(np.concatenate([e.held for e in errors]).mean()))
