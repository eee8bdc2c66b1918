"""When the next chunk is asked for, where it begins, and what of it is decided already."""

from dataclasses import dataclass

from foreact.control.config import ControlConfig


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A turn to be taken now."""

    begin_tick: int
    """Policy tick of the new chunk's first action."""
    num_under_way: int
    """Actions from now to `begin_tick`."""
    num_prefix: int
    """First actions of the new chunk that the old one has decided."""


@dataclass(frozen=True, kw_only=True)
class Pacing:
    """The rule by which chunks follow each other."""

    config: ControlConfig
    waits: bool
    """The robot stands still for each turn: nothing is under way."""
    inpaints: bool
    """New chunks can continue a decided prefix."""

    def plan(self, *, tick: int, chunk_begin: int, queue_end: int, delay_ticks: int) -> Plan | None:
        """The turn due at a policy tick; None if none is.

        Actions under way cover the whole latent frames of the delay, and the prefix covers what is left, or one more
        latent frame does where there can be no prefix. If the boundary that would have been right has passed, the old
        chunk is executed for longer, as far as it reaches.

        Args:
            tick: The first policy tick that is not executed.
            chunk_begin: Policy tick at which the newest chunk began or will begin.
            queue_end: The first policy tick without an action.
            delay_ticks: Ticks that the answer will take.
        """
        per_frame = self.config.actions_per_latent_frame
        if tick % per_frame:
            return None
        delay = 0 if self.waits else delay_ticks
        prefixes = self._uses_prefix(delay)
        # A first chunk may be shorter than others: the next begins at its end.
        next_begin = min(chunk_begin + self._horizon(delay) * per_frame, queue_end)
        if tick < next_begin - self._lead(delay, prefixes) * per_frame:
            return None
        covered = min(delay, queue_end - tick)
        begin = max(next_begin, tick + self._lead(covered, prefixes) * per_frame)
        prefix = max(0, covered - (begin - tick)) if prefixes else 0
        return Plan(begin_tick=begin, num_under_way=begin - tick, num_prefix=prefix)

    def stand_tick(self, chunk_begin: int) -> int | None:
        """The policy tick at which the robot stands still for the next turn; None if it never means to."""
        return chunk_begin + self._horizon(0) * self.config.actions_per_latent_frame if self.waits else None

    def _horizon(self, delay: int) -> int:
        """Latent frames of a chunk after which the next is to begin; a prefix needs one left beyond them."""
        num_frames = self.config.latent_frames_per_chunk
        most = num_frames - 1 if self._uses_prefix(delay) else num_frames
        return min(self.config.execution_horizon or num_frames, most)

    def _lead(self, delay: int, prefixes: bool) -> int:
        """Latent frames under way when a turn is taken."""
        if prefixes:
            return delay // self.config.actions_per_latent_frame
        return min(self._frames(delay), self.config.latent_frames_per_chunk)

    def _uses_prefix(self, delay: int) -> bool:
        """True if whole latent frames do not cover the delay and a prefix can: the old chunk must reach beyond it."""
        within = self._frames(delay) < self.config.latent_frames_per_chunk
        return self.inpaints and within and delay % self.config.actions_per_latent_frame > 0

    def _frames(self, delay: int) -> int:
        return -(-delay // self.config.actions_per_latent_frame)
