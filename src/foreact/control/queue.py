"""Actions waiting to be executed, each stamped with its policy tick."""

import numpy as np

from foreact.errors import ConfigurationError, InputError


class ActionQueue:
    """The decided actions from the next policy tick on, without a gap; what was executed never comes again."""

    def __init__(self, *, blend_actions: int = 0):
        """Start empty, at policy tick 0.

        Args:
            blend_actions: Actions over which a new chunk fades in where the old one reaches beyond its beginning.
        """
        if blend_actions < 0:
            raise ConfigurationError("blend_actions", got=blend_actions, allowed="0 or more")
        self._blend = blend_actions
        self._waiting: np.ndarray | None = None
        self._last: np.ndarray | None = None
        self.next_tick = 0
        """The first policy tick that is not executed."""

    @property
    def end(self) -> int:
        """The first policy tick for which there is no action."""
        return self.next_tick + (0 if self._waiting is None else len(self._waiting))

    def put(self, start_tick: int, actions: np.ndarray) -> None:
        """Replace whatever waits from `start_tick` on; actions for executed ticks are dropped.

        Args:
            start_tick: Policy tick of the first action.
            actions: float32 [num_actions, num_dofs].

        Raises:
            InputError: Numbers that are not finite, another number of degrees of freedom than before, or a gap between
                what waits and `start_tick`. Nothing has changed then.
        """
        actions = self._checked(actions)
        if not 0 <= start_tick <= self.end:
            raise InputError("first tick of a chunk", got=start_tick, allowed=f"0 to {self.end}: no gap")
        fresh_tick = max(start_tick, self.next_tick)
        new = actions[fresh_tick - start_tick :]
        if not len(new):
            return
        old = np.empty_like(new[:0]) if self._waiting is None else self._waiting
        kept, replaced = np.split(old, [fresh_tick - self.next_tick])
        self._waiting = np.concatenate([kept, _cross_fade(replaced, new, self._blend)])

    def at(self, tick: float | int) -> np.ndarray:
        """The action at a tick yet to be executed; between two ticks on the straight line between their actions.

        Raises:
            InputError: The tick is executed, or beyond the end.
        """
        if self._waiting is None or not self.next_tick - 1 < tick <= self.end - 1:
            raise InputError("policy tick", got=tick, allowed=f"over {self.next_tick - 1}, at most {self.end - 1}")
        whole, fraction = divmod(tick - self.next_tick, 1.0)
        if not fraction:
            return self._waiting[int(whole)].copy()
        after = self._waiting[int(whole) + 1]
        before = self._waiting[int(whole)] if whole >= 0 else after if self._last is None else self._last
        return np.float32(1 - fraction) * before + np.float32(fraction) * after

    def after(self, tick: int, count: int) -> np.ndarray:
        """Up to `count` actions from `tick` on, float32 [num_actions, num_dofs]; fewer where the queue ends."""
        if tick < self.next_tick:
            raise InputError("policy tick", got=tick, allowed=f"{self.next_tick} or later: those before are executed")
        if self._waiting is None:
            return np.zeros((0, 0), np.float32)
        return self._waiting[tick - self.next_tick :][:count].copy()

    def take(self) -> np.ndarray:
        """The action of the next tick, which is executed from now on.

        Raises:
            InputError: None waits.
        """
        action = self.at(self.next_tick)
        assert self._waiting is not None
        self._last, self._waiting = action, self._waiting[1:]
        self.next_tick += 1
        return action

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        actions = np.asarray(actions, np.float32)
        known = None if self._waiting is None else self._waiting.shape[1]
        if actions.ndim != 2 or known not in (None, actions.shape[1]):
            raise InputError("actions of a chunk", got=actions.shape, allowed=f"[num_actions, {known or 'num_dofs'}]")
        if not np.all(np.isfinite(actions)):
            raise InputError("actions of a chunk", got="numbers that are not finite", allowed="finite numbers")
        return actions


def _cross_fade(old: np.ndarray, new: np.ndarray, count: int) -> np.ndarray:
    """`new`, its first actions drawn towards `old` where both exist; the weight of `new` grows evenly."""
    overlap = min(count, len(old), len(new))
    weight = np.arange(1, overlap + 1, dtype=np.float32)[:, None] / np.float32(count + 1)
    mixed = (1 - weight) * old[:overlap] + weight * new[:overlap]
    return np.concatenate([mixed, new[overlap:]])
