"""Who sees whom in training: exactly what a cached, chunk-by-chunk rollout sees.

A sequence is latent frame 0 (what the robot saw first, with the actions that held it still), then chunks of K latent
frames with the actions that lead to them. It enters twice, clean and noisy. With H the clean frames of the
last `window` latent frames before a chunk, in a chunk

    noisy video sees   H, itself                        imagining
    clean video sees   H, itself                        what the cameras really saw, appended to the cache
    noisy actions see  H, clean video, itself           decoding actions from the (imagined) video
    clean actions see  H, clean video, itself           the executed actions, appended to the cache

and nothing else. Clean video may itself be half noised (noisy history augmentation): it then stands for a video
whose imagination was stopped early.

A sequence in forward dynamics mode asks the other way round where given actions lead. The noisy copy of its actions
is not noisy, it is what was executed, and in a chunk

    given actions see  H, itself                        actions under way, whose frames nobody has seen
    noisy video sees   H, given actions, itself         imagining where they lead
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from foreact.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class ChunkLayout:
    """How a training sequence is cut into chunks."""

    num_frames: int
    """Latent frames, the first observed one included."""
    frames_per_chunk: int
    """K; the last chunk may be shorter."""
    window: int
    """Latent frames of history that a chunk sees."""
    imagines: bool = True
    """False for a reactive policy: no noisy video, and actions do not see their chunk's video."""
    forward_dynamics: bool = False
    """Video is imagined from given actions, instead of actions from imagined video."""

    def __post_init__(self) -> None:
        if self.num_frames < 2 or self.frames_per_chunk < 1 or self.window < 1:
            raise ConfigurationError("chunk layout", got=self, allowed="at least 2 frames, 1 per chunk, window 1")
        if self.forward_dynamics and not self.imagines:
            raise ConfigurationError("forward dynamics", got="a policy that does not imagine", allowed="one that does")

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """First and one-past-last latent frame of every chunk; the first is the observed frame alone."""
        starts = range(1, self.num_frames, self.frames_per_chunk)
        return [(0, 1), *((start, min(start + self.frames_per_chunk, self.num_frames)) for start in starts)]

    def history_start(self, chunk_start: int) -> int:
        """Return the first latent frame that a chunk beginning at `chunk_start` can see."""
        return max(0, chunk_start - self.window)

    @property
    def action_frames(self) -> Tensor:
        """Latent frame of each packed action frame: the noisy copy (1 .. F-1), then the clean one (0 .. F-1)."""
        return torch.cat([torch.arange(1, self.num_frames), torch.arange(self.num_frames)])

    @property
    def video_frames(self) -> Tensor:
        """Likewise for video, whose noisy copy is there only when the policy imagines."""
        return self.action_frames if self.imagines else torch.arange(self.num_frames)


def training_mask(layout: ChunkLayout, video_tokens: int, action_tokens: int) -> Bool[Tensor, "queries keys"]:
    """Return the whole mask, True where a query sees a key, in packed order: all video tokens, then all actions.

    This is the readable definition, and the oracle of the fast path in `attention.ChunkedAttention`.

    Args:
        layout: How the sequence is cut.
        video_tokens: Per latent frame.
        action_tokens: Per latent frame.
    """
    tokens = packed_tokens(layout, video_tokens, action_tokens)
    return sees(tokens.at((slice(None), None)), tokens.at((None, slice(None))), layout)


@dataclass(frozen=True, kw_only=True)
class PackedTokens:
    """What the mask asks of each packed token; every tensor has the same shape."""

    frame: Tensor
    """Latent frame."""
    chunk: Tensor
    """Number of its chunk."""
    first_seen: Tensor
    """First latent frame of history that its chunk sees."""
    clean: Tensor
    """False: of the noisy copy (in forward dynamics mode, of the given actions)."""
    action: Tensor
    """False: video."""

    def at(self, index: Any) -> "PackedTokens":
        """Return some of the tokens, or all with an axis more, as indexing does."""
        return PackedTokens(**{name: value[index] for name, value in vars(self).items()})

    def to(self, device: torch.device) -> "PackedTokens":
        """Return the same on a device."""
        return PackedTokens(**{name: value.to(device) for name, value in vars(self).items()})


def sees(query: PackedTokens, key: PackedTokens, layout: ChunkLayout) -> Tensor:
    """Return whether queries see keys: the whole rule, for dense and block masks alike."""
    history = key.clean & (key.chunk < query.chunk) & (key.frame >= query.first_seen)
    own = (query.clean == key.clean) & (query.action == key.action)
    reads_video = query.action & ~key.action & key.clean
    if layout.forward_dynamics:
        foresees = ~query.clean & ~query.action & ~key.clean & key.action
        reads = (reads_video & query.clean) | foresees
    else:
        reads = reads_video & (query.clean | layout.imagines)
    return history | ((query.chunk == key.chunk) & (own | reads))


def packed_tokens(layout: ChunkLayout, video_tokens: int, action_tokens: int) -> PackedTokens:
    """Return every packed token's attributes, [tokens]."""
    chunk_of_frame = torch.empty(layout.num_frames, dtype=torch.long)
    first_seen = torch.empty(layout.num_frames, dtype=torch.long)
    for index, (start, stop) in enumerate(layout.chunks):
        chunk_of_frame[start:stop] = index
        first_seen[start:stop] = layout.history_start(start)
    streams = [(layout.video_frames, video_tokens), (layout.action_frames, action_tokens)]
    frame = torch.cat([frames.repeat_interleave(n) for frames, n in streams])
    clean = torch.cat([(torch.arange(len(f)) >= len(f) - layout.num_frames).repeat_interleave(n) for f, n in streams])
    return PackedTokens(
        frame=frame,
        chunk=chunk_of_frame[frame],
        first_seen=first_seen[frame],
        clean=clean,
        action=torch.arange(len(frame)) >= len(layout.video_frames) * video_tokens,
    )
