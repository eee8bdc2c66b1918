"""Four questions to one network on recorded episodes: how good each answer is, next to a guess that knows nothing.

The history is always the recorded one, and the questions asked at one moment start from the same noise: they differ in
what they are told, not in luck.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from foreact.data.batch import TrainingSequence
from foreact.errors import ConfigurationError
from foreact.evaluation.dream import check_imagines
from foreact.evaluation.statistics import bootstrap_interval, ratio_of_means
from foreact.policy.committed import TRAIN
from foreact.policy.disagreement import frame_distances
from foreact.policy.policy import Policy
from foreact.policy.rollout import Prediction, Rollout
from foreact.policy.viewer import Frames, LatentViewer, hold_last, squared_errors
from foreact.training.validation import counted_frames, relive

POLICY, VIDEO_ONLY, FORWARD, INVERSE, HELD = "policy", "video only", "forward dynamics", "inverse dynamics", "held"
"""The four modes, and the guess that nothing changes: the last action, or the last frame, held."""
FORWARD_STILL, INVERSE_STILL = "forward, told of a still robot", "inverse, shown a still picture"
"""Controls: a network that read what it is told would answer these wrongly."""
ACTIONS, ACTIONS_IN, LATENTS, PIXELS = "actions", "actions in ", "latents", "pixels"
"""Measures: mean absolute error in model units and in each of the robot's, latent distance, mean squared error."""
COMPARED = (
    (ACTIONS, INVERSE, POLICY),
    (ACTIONS, INVERSE, INVERSE_STILL),
    (LATENTS, FORWARD, VIDEO_ONLY),
    (PIXELS, FORWARD, VIDEO_ONLY),
    (LATENTS, FORWARD, FORWARD_STILL),
)
"""What decides: measure, who was told the truth, and who was told less or something else."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What was recorded of one chunk and what the network says of it, in model units."""

    now: slice
    """Its latent frames."""
    prediction: Prediction
    """Policy: of the history alone."""
    imagined: Tensor
    """Video only: of the history alone, [channels, frames, height, width]."""
    foreseen: Tensor
    """Forward dynamics: of the history and the executed actions."""
    inferred: Tensor
    """Inverse dynamics: of the history and the recorded frames, [frames, actions, action_channels]."""
    foreseen_still: Tensor
    """Forward dynamics, told that the last action is held."""
    inferred_still: Tensor
    """Inverse dynamics, shown the last latent frame held."""


@dataclass(frozen=True, kw_only=True)
class EpisodeErrors:
    """Errors of one episode, summed: of each measure, by who answered, and how many numbers were summed."""

    totals: Mapping[str, Mapping[str, float]]
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure over all episodes with its 95 % interval (bootstrap over episodes)."""

    value: float
    low: float
    high: float

    @property
    def is_decided(self) -> bool:
        """Whether a difference has a sign."""
        return self.low > 0 or self.high < 0


def check_answers_all(policy: Policy) -> None:
    """Refuse a policy that cannot be asked all four questions.

    Raises:
        ConfigurationError: It does not imagine, or was not trained for forward dynamics.
    """
    check_imagines(policy)
    if not policy.config.trained.forward_dynamics:
        raise ConfigurationError("policy trained for forward_dynamics", got="False", allowed="True", cure=TRAIN)


def ask_chunks(policy: Policy, sequence: TrainingSequence, *, seed: int) -> Iterator[Answers]:
    """Yield the answers to all four questions for every whole chunk of a recorded episode, each from its history."""
    for now, rollout in relive(policy, sequence, seed=seed):
        yield _ask(policy, rollout, sequence, now)


def _ask(policy: Policy, rollout: Rollout, sequence: TrainingSequence, now: slice) -> Answers:
    predictor, before_video = policy.predictor, rollout.generator.get_state()
    imagined = predictor.imagine(rollout)
    before_actions = rollout.generator.get_state()
    still_actions, still_latents = _held_action(sequence, now), held_frame(sequence, now)

    def ask(question: Callable[[Rollout, Tensor], Tensor], details: Tensor, noise: Tensor) -> Tensor:
        rollout.generator.set_state(noise)
        return question(rollout, details)

    answers = {
        "foreseen": ask(predictor.foresee, sequence.executed[now], before_video),
        "foreseen_still": ask(predictor.foresee, still_actions, before_video),
        "inferred": ask(predictor.infer_actions, sequence.latents[:, now], before_actions),
        "inferred_still": ask(predictor.infer_actions, still_latents, before_actions),
    }
    rollout.generator.set_state(before_video)
    return Answers(now=now, prediction=predictor.predict(rollout), imagined=imagined, **answers)


def _held_action(sequence: TrainingSequence, now: slice) -> Tensor:
    """Return the action that was told last before these latent frames, all along them."""
    return sequence.executed[now.start - 1, -1].expand_as(sequence.actions[now])


def held_frame(sequence: TrainingSequence, now: slice) -> Tensor:
    """Return the last latent frame before these, all along them."""
    return sequence.latents[:, now.start - 1, None].expand_as(sequence.latents[:, now])


def episode_errors(policy: Policy, sequence: TrainingSequence, *, seed: int) -> EpisodeErrors:
    """Return how far each answer is from what was recorded, over all whole chunks of one held-out episode.

    Args:
        policy: One that can be asked all four questions.
        sequence: The episode; what was repeated past its end counts for nothing.
        seed: Of the noise.
    """
    totals: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    counts: Counter[str] = Counter()
    viewer = LatentViewer(policy.networks.vae, policy.embodiment.layout)
    last = viewer.show(sequence.latents[:, :1])
    for answers in ask_chunks(policy, sequence, seed=seed):
        real = viewer.peek(sequence.latents[:, answers.now])
        measured = {
            **_action_errors(policy, sequence, answers),
            **_video_errors(policy, sequence, answers, viewer, real, last),
        }
        for measure, errors in measured.items():
            counts[measure] += len(errors[HELD])
            for who, values in errors.items():
                totals[measure][who] += float(values.sum())
        last = viewer.show(sequence.latents[:, answers.now])
    return EpisodeErrors(totals={name: dict(sums) for name, sums in totals.items()}, counts=dict(counts))


Errors = dict[str, dict[str, np.ndarray]]
"""Of each measure, by who answered: single errors, as many for each."""


def _action_errors(policy: Policy, sequence: TrainingSequence, answers: Answers) -> Errors:
    """Errors against what the demonstrator meant to do, the target of training; held is what was told last."""
    meant, valid = sequence.actions[answers.now], sequence.action_valid[answers.now]
    given = {
        POLICY: answers.prediction.actions,
        INVERSE: answers.inferred,
        INVERSE_STILL: answers.inferred_still,
        HELD: _held_action(sequence, answers.now),
    }
    has = torch.from_numpy(policy.codec.mask.copy())
    errors: Errors = {ACTIONS: {who: (said - meant)[valid][:, has].abs().numpy() for who, said in given.items()}}
    robot = policy.embodiment
    if not robot.needs_initial_pose:  # else they count from a pose that a sequence in model units does not hold
        own = {who: policy.codec.decode(said[valid].numpy()) for who, said in (given | {"meant": meant}).items()}
        for unit in dict.fromkeys(dof.unit for dof in robot.dofs if dof.unit):
            entries = [place for place, dof in enumerate(robot.dofs) if dof.unit == unit]
            errors[ACTIONS_IN + unit] = {who: np.abs(own[who] - own["meant"])[:, entries] for who in given}
    return {measure: {who: e.ravel() for who, e in by.items()} for measure, by in errors.items()}


def _video_errors(
    policy: Policy, sequence: TrainingSequence, answers: Answers, viewer: LatentViewer, real: Frames, last: Frames
) -> Errors:
    """Errors against what the cameras saw, as the VAE shows both sides; pixels only where something moves."""
    seen, valid = sequence.latents[:, answers.now], sequence.frame_valid[answers.now]
    latents = {
        POLICY: answers.prediction.latents,
        VIDEO_ONLY: answers.imagined,
        FORWARD: answers.foreseen,
        FORWARD_STILL: answers.foreseen_still,
    }
    held = held_frame(sequence, answers.now)
    distances = {who: frame_distances(z, seen)[valid].numpy() for who, z in (latents | {HELD: held}).items()}
    frames = {who: viewer.peek(z) for who, z in latents.items()} | {HELD: hold_last(last, _num_frames(real))}
    counted = counted_frames(policy, valid, real, last)
    return {LATENTS: distances, PIXELS: {who: squared_errors(clip, real)[counted] for who, clip in frames.items()}}


def _num_frames(frames: Frames) -> int:
    return len(next(iter(frames.values())))


def estimate(episodes: Sequence[EpisodeErrors], measure: str, who: str, less: str | None = None) -> Estimate:
    """Return a mean error over all episodes; with `less`, that of `who` less that of `less`, paired.

    Pixels are given as PSNR in dB, where more is better; the other measures are errors.

    Raises:
        ConfigurationError: Fewer than two episodes.
    """
    of = _psnr if measure == PIXELS else ratio_of_means
    columns = [np.array([episode.totals[measure][name] for episode in episodes]) for name in (who, less) if name]
    numbers = np.array([episode.counts[measure] for episode in episodes], float)

    def statistic(*drawn: np.ndarray) -> np.ndarray:
        values = [of(total, drawn[-1]) for total in drawn[:-1]]
        return np.asarray(values[0] if less is None else values[0] - values[1])

    low, high = bootstrap_interval(statistic, *columns, numbers)
    return Estimate(value=float(statistic(*columns, numbers)), low=low, high=high)


def estimate_all(episodes: Sequence[EpisodeErrors]) -> dict[str, dict[str, Estimate]]:
    """Return of each measure, by who answered, the mean error (pixels: PSNR in dB) over all episodes."""
    return {
        measure: {who: estimate(episodes, measure, who) for who in totals}
        for measure, totals in episodes[0].totals.items()
    }


def _psnr(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return `psnr_db` of many means at once: an interval takes ten thousand."""
    return np.asarray(-10 * np.log10(np.maximum(ratio_of_means(total, count), 1e-12)))
