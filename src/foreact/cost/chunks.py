"""Chunks timed: the same policy under different histories and numbers of sessions, in turn, in one run."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from foreact.errors import ConfigurationError
from foreact.policy.policy import Policy
from foreact.policy.session import Session

WORDS = "Pick up the white cube with the right arm."
WARM_UP = 1
"""Turns of each setting before counting."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is timed."""

    history: int
    """Latent frames in the cache before the first chunk."""
    sessions: int = 1
    """Sessions that pass through as one batch."""

    def __post_init__(self) -> None:
        if self.history < 0 or self.sessions < 1:
            raise ConfigurationError("history and sessions", got=self, allowed="0 or more, 1 or more")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds of one setting, over its turns."""

    setting: Setting
    stage_ms: Mapping[str, float]
    """Medians per stage: encode, append, imagine, decode_actions."""
    chunk_ms: float
    """Median of whole turns: every session of the batch got a chunk."""
    spread_ms: float
    """Half of the distance between the quartiles of whole turns."""

    @property
    def chunks_per_s(self) -> float:
        """Of all sessions together."""
        return 1e3 * self.setting.sessions / self.chunk_ms


def time_chunks(policy: Policy, settings: Sequence[Setting], repeats: int) -> Iterator[tuple[int, list[Timing]]]:
    """Yield (turns done, timings so far) after every round over the settings; the last ones are final.

    Settings alternate within each round, so that whatever else the machine does meets all of them alike. Pictures are
    noise, and history is blank: time depends on neither. History grows by a chunk a turn, until the window is full.

    Args:
        policy: Any.
        settings: What to time.
        repeats: Rounds that count.

    Raises:
        ConfigurationError: No round counts.
    """
    if repeats < 1:
        raise ConfigurationError("repeats", got=repeats, allowed="1 or more")
    batches = [_begin(policy, setting) for setting in settings]
    turns: list[list[dict[str, float]]] = [[] for _ in settings]
    for number in range(WARM_UP + repeats):
        for batch, taken in zip(batches, turns, strict=True):
            spent = _turn(policy, batch)
            if number >= WARM_UP:
                taken.append(spent)
        if number >= WARM_UP:
            pairs = zip(settings, turns, strict=True)
            yield number + 1 - WARM_UP, [_summarise(setting, taken) for setting, taken in pairs]


def _begin(policy: Policy, setting: Setting) -> list[Session]:
    """Return sessions that have predicted once and have the history asked for."""
    sessions = [policy.start(WORDS, seed=seed) for seed in range(setting.sessions)]
    num_states = policy.embodiment.num_state_entries
    for session in sessions:
        policy.observe_first(session, _noise(policy, 1), np.zeros(num_states, np.float32))
        session.rollout.cache.num_observed = setting.history
        session.rollout.trace.take()
    policy.predict_together(sessions)
    return sessions


def _turn(policy: Policy, sessions: list[Session]) -> dict[str, float]:
    """Return milliseconds per stage of one turn of the loop: what was seen taken in, the next chunk computed."""
    timing = policy.embodiment.timing
    per_chunk = policy.config.latent_frames_per_chunk - sessions[0].rollout.num_frames_at_head
    actions = np.zeros((per_chunk * timing.actions_per_latent_frame, policy.embodiment.num_dofs), np.float32)
    pictures = _noise(policy, per_chunk * timing.vae_factor)
    policy.observe_together(sessions, [pictures] * len(sessions), [actions] * len(sessions))
    return dict(policy.predict_together(sessions)[0].stage_ms)


def _noise(policy: Policy, num_frames: int) -> dict[str, np.ndarray]:
    layout, rng = policy.embodiment.layout, np.random.default_rng(0)
    sizes = zip(layout.cameras, layout.picture_sizes, strict=True)
    return {camera: rng.integers(0, 256, (num_frames, *size, 3), dtype=np.uint8) for camera, size in sizes}


def _summarise(setting: Setting, turns: list[dict[str, float]]) -> Timing:
    whole = [sum(turn.values()) for turn in turns]
    quartiles = statistics.quantiles(whole, n=4) if len(whole) > 1 else [whole[0]] * 3
    return Timing(
        setting=setting,
        stage_ms={stage: statistics.median(turn[stage] for turn in turns) for stage in turns[0]},
        chunk_ms=statistics.median(whole),
        spread_ms=(quartiles[2] - quartiles[0]) / 2,
    )
