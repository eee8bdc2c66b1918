"""The KV cache of one session: what was observed, in a ring; what is imagined, in scratch space next to it.

Per layer one buffer holds `[ scratch | ring ]`. The ring has a slot for each latent frame of the window. Scratch is
filled from its end towards its start, so scratch entries in use and ring entries in use are always one contiguous
slice: attention reads it without a copy, a gather or a mask, and imagining can never evict history. Positions are
inside the keys already, so the order of slots in the ring does not matter.

Frames of actions under way, which nobody has seen yet, take slots of the ring as observed ones would, so that what
comes after them sees just as long a history as in training. Slots they take from older frames are put aside at the
start of scratch, and put back when they are dropped.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from foreact.errors import ConfigurationError


class KVCache:
    """Keys and values of every layer for one session (one or, with guidance, two rows)."""

    def __init__(
        self,
        *,
        num_layers: int,
        batch: int,
        num_heads: int,
        head_dim: int,
        window: int,
        video_tokens: int,
        action_tokens: int,
        scratch_frames: int,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        """Allocate the whole cache; it never grows.

        Args:
            num_layers: Of the network.
            batch: Rows: 1, or 2 when a conditional and an unconditional branch run side by side.
            num_heads: Of joint attention.
            head_dim: Of joint attention.
            window: Latent frames of history kept.
            video_tokens: Per latent frame.
            action_tokens: Per latent frame.
            scratch_frames: Latent frames of video and actions that may be imagined or in flight at once.
            device: Where the buffers live.
            dtype: Of keys and values.
        """
        if window < 1 or scratch_frames < 1:
            raise ConfigurationError("KV cache", got=f"window {window}, scratch {scratch_frames}", allowed="1 or more")
        self.window = window
        self.num_observed = 0
        """Latent frames observed since the session began; those beyond the window are forgotten."""
        self._tokens = (video_tokens, action_tokens)
        self._slot = video_tokens + action_tokens
        self._scratch = scratch_frames * self._slot
        self.num_ahead = 0
        """Latent frames kept beyond those observed: of actions under way, whose frames nobody has seen yet."""
        self._imagined = 0
        self._put_aside: list[int] = []
        """Where in the buffers the frames belong that lie at the start of scratch, one slot after the other."""
        shape = (num_layers, batch, num_heads, self._scratch + window * self._slot, head_dim)
        # Written to, not only promised: memory that is short is short now, not hours later.
        self._keys = torch.empty(shape, device=device, dtype=dtype).zero_()
        self._values = torch.empty(shape, device=device, dtype=dtype).zero_()

    @property
    def num_bytes(self) -> int:
        """Bytes allocated."""
        return 2 * self._keys.numel() * self._keys.element_size()

    @property
    def num_imagined_tokens(self) -> int:
        """Tokens imagined and kept, not yet dropped."""
        return self._imagined

    def write_scratch(
        self, layer: int, keys: Tensor, values: Tensor, offset: int
    ) -> tuple[Float[Tensor, "batch heads seen head_dim"], Float[Tensor, "batch heads seen head_dim"]]:
        """Place new entries next to those in use; return the keys and values that their queries see.

        Args:
            layer: Which layer.
            keys: [rows, heads, tokens, head_dim]; fewer rows than the cache has use its first ones.
            values: The same shape.
            offset: Tokens of this pass placed so far, these included.

        Raises:
            ConfigurationError: The scratch space is too small for them.
        """
        self._check_scratch(offset, self.num_ahead)
        start = self._scratch - self._imagined - offset
        rows, end = keys.shape[0], start + keys.shape[2]
        self._keys[layer, :rows, :, start:end] = keys
        self._values[layer, :rows, :, start:end] = values
        stop = self._scratch + min(self.num_observed + self.num_ahead, self.window) * self._slot
        return self._keys[layer, :rows, :, start:stop], self._values[layer, :rows, :, start:stop]

    def observed(self) -> tuple[Tensor, Tensor]:
        """Return keys and values of what was observed, [layers, batch, heads, entries, head_dim]; a view.

        Nothing may be ahead.
        """
        kept = slice(self._scratch, self._scratch + min(self.num_observed, self.window) * self._slot)
        return self._keys[:, :, :, kept], self._values[:, :, :, kept]

    def seen_by_actions(self, num_frames: int) -> list[tuple[int, bool, int]]:
        """Return what a pass of a chunk's actions sees, in the order of `write_scratch`; nothing may be ahead.

        Each entry is the number of its latent frame in the session, whether it is an action token, and its number
        among the tokens of its kind in that frame.

        Args:
            num_frames: Latent frames of the pass, which begin after those observed. Video imagined for them is seen.
        """
        video, action = self._tokens
        new = range(self.num_observed, self.num_observed + num_frames)
        own = [(frame, True, token) for frame in new for token in range(action)]
        imagined = [(frame, False, token) for frame in new for token in range(video)] if self._imagined else []
        last, slots = self.num_observed - 1, range(min(self.num_observed, self.window))
        kept = [last - (last - slot) % self.window for slot in slots]
        tokens = [*((False, token) for token in range(video)), *((True, token) for token in range(action))]
        return [*own, *imagined, *((frame, *token) for frame in kept for token in tokens)]

    def append_imagined(self, num_tokens: int) -> None:
        """Keep the last pass's entries as imagined ones: later passes see them until they are dropped."""
        self._imagined += num_tokens

    def append_ahead(self, num_frames: int) -> None:
        """Keep the last pass (video and actions of `num_frames` latent frames) as if observed, until it is dropped.

        Raises:
            ConfigurationError: The scratch space is too small for the pass and what is to be put aside.
        """
        self._check_scratch(num_frames * self._slot, self.num_ahead + num_frames)
        known = self.num_observed + self.num_ahead
        for number in range(max(known + num_frames - self.window, self.window, known), known + num_frames):
            self._copy(self._ring_slot(number), len(self._put_aside) * self._slot, self._slot)
            self._put_aside.append(self._ring_slot(number))
        self._move_to_ring(num_frames)
        self.num_ahead += num_frames

    def drop_imagined(self) -> None:
        """Forget everything imagined, frames ahead included."""
        while self._put_aside:
            slot = self._put_aside.pop()
            self._copy(len(self._put_aside) * self._slot, slot, self._slot)
        self._imagined = self.num_ahead = 0

    def append_observed(self, num_frames: int) -> None:
        """Move the last pass (video and actions of `num_frames` latent frames) into the ring, dropping the imagined.

        Raises:
            ConfigurationError: Something imagined is still kept: it would be mixed with what was observed.
        """
        if self._imagined or self.num_ahead:
            raise ConfigurationError(
                "appending observed frames",
                got=f"{self._imagined} imagined tokens, {self.num_ahead} frames ahead",
                cure="call drop_imagined() first",
            )
        self._move_to_ring(num_frames)
        self.num_observed += num_frames

    def _check_scratch(self, num_tokens: int, num_aside: int) -> None:
        """Refuse more tokens than scratch holds next to frames put aside; these have their room even if none was."""
        allowed = self._scratch - num_aside * self._slot
        if self._imagined + num_tokens > allowed:
            raise ConfigurationError(
                "tokens in the cache's scratch space",
                got=self._imagined + num_tokens,
                allowed=f"at most {allowed}",
                cure="make the cache with more scratch_frames",
            )

    def _move_to_ring(self, num_frames: int) -> None:
        """Move the last pass into the ring; of more frames than the window holds, the last ones."""
        (video, action), known = self._tokens, self.num_observed + self.num_ahead
        video_start = self._scratch - num_frames * video
        action_start = video_start - num_frames * action
        for frame in range(max(0, num_frames - self.window), num_frames):
            slot = self._ring_slot(known + frame)
            self._copy(video_start + frame * video, slot, video)
            self._copy(action_start + frame * action, slot + video, action)

    def _ring_slot(self, frame: int) -> int:
        """Return where in the buffers a latent frame begins, counted from the session's first."""
        return self._scratch + frame % self.window * self._slot

    def _copy(self, source: int, target: int, num_tokens: int) -> None:
        for buffer in (self._keys, self._values):
            buffer[..., target : target + num_tokens, :] = buffer[..., source : source + num_tokens, :]
