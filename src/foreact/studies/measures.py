"""What is measured of a policy: success in simulation, or errors on held-out episodes."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from foreact.data.episodes import EpisodeDataset
from foreact.data.sequences import EXECUTED, make_sequence
from foreact.errors import ConfigurationError
from foreact.evaluation.suite import EvaluationConfig, evaluate, read_results
from foreact.policy.loading import load
from foreact.policy.policy import Policy, with_settings
from foreact.simulation.tasks import get_task
from foreact.studies.demonstrations import Dataset, Demonstrations, encode
from foreact.studies.policies import PolicySource, TrainingRun, changed_in, find_policy, policy_fingerprint
from foreact.studies.work import OnProgress, Row, Work, WorkFolders, plain_settings, write_json
from foreact.training.validation import open_loop_error

ERRORS_FILE = "errors.json"
SIMULATED_STEP_S = 0.009
"""Of one core: a control step under a small policy, its share of pictures and of computing chunks included."""
HELD_OUT_EPISODE_S = 4.0


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A policy in simulation, episode by episode; a unit is a seed."""

    kind: ClassVar[str] = "evaluation"
    policy: PolicySource
    """Whose."""
    changes: Mapping[str, Any]
    """Of its own inference settings."""
    config: EvaluationConfig
    """Task, seeds, controller."""

    @property
    def size(self) -> int:
        """Episodes."""
        return self.config.num_episodes

    @property
    def expected_s(self) -> float:
        """Seconds on one core."""
        return self.size * get_task(self.config.task).max_steps * self.config.patience * 0.7 * SIMULATED_STEP_S

    @property
    def title(self) -> str:
        """A few words."""
        changed = "".join(f", {name} {value}" for name, value in self.changes.items())
        return f"{self.size} episodes of {self.config.task}{changed}"

    def fingerprint(self) -> dict[str, Any]:
        """Return all settings but the number of episodes: asking for more adds to those there are."""
        config = {name: value for name, value in plain_settings(self.config).items() if name != "num_episodes"}
        return {
            **policy_fingerprint(self.policy),
            "changes": changed_in(self.policy, self.changes),
            "evaluation": config,
        }

    def needs(self) -> Sequence[Work]:
        """Return the policy's training."""
        return (self.policy,) if isinstance(self.policy, TrainingRun) else ()

    def perform(self, folder: Path, store: WorkFolders, device: str, on_progress: OnProgress) -> None:
        """Run the episodes that are missing."""
        policy = _policy(self.policy, self.changes, store, device)
        seeds = range(self.config.seed, self.config.seed + self.size)
        known = {result.seed for result in read_results(folder)} & set(seeds)
        count, successes = len(known), 0
        on_progress(count, self.size, "")
        for result in evaluate(policy, self.config, folder):
            successes += result.success
            count += result.seed not in known
            on_progress(count, self.size, f"{successes} succeeded")

    def read(self, store: WorkFolders) -> list[Row]:
        """Return the figures of each episode that was asked for and is done, in the order of their seeds."""
        wanted = range(self.config.seed, self.config.seed + self.size)
        results = [result for result in read_results(store.folder(self)) if result.seed in wanted]
        return [
            {
                "unit": result.seed,
                "success": float(result.success),
                "progress": result.progress,
                "imagination_error": float(np.mean(result.imagination_error)) if result.imagination_error else None,
                "chunk_ms": float(np.median([sum(stages.values()) for stages in result.stage_ms])),
            }
            for result in sorted(results, key=lambda result: result.seed)
        ]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What to measure on recorded episodes: how far predictions are from them, each from its real history."""

    dataset: Dataset
    """Whose last episodes."""
    num_episodes: int = 5
    """So many: those that trainings on the dataset hold out."""
    seed: int = 0
    """Of the noise that predictions start from."""

    def __post_init__(self) -> None:
        if self.num_episodes < 1:
            raise ConfigurationError("num_episodes", got=self.num_episodes, allowed="1 or more")


@dataclass(frozen=True, kw_only=True)
class HeldOutErrors:
    """A policy's errors on held-out episodes; a unit is an episode."""

    kind: ClassVar[str] = "held_out"
    policy: PolicySource
    """Whose."""
    changes: Mapping[str, Any]
    """Of its own inference settings."""
    config: HeldOut
    """On what."""

    @property
    def size(self) -> int:
        """Episodes."""
        return self.config.num_episodes

    @property
    def expected_s(self) -> float:
        """Seconds on one core."""
        return self.size * HELD_OUT_EPISODE_S

    @property
    def title(self) -> str:
        """A few words."""
        return f"errors on {self.size} held-out episodes"

    def fingerprint(self) -> dict[str, Any]:
        """Return all settings; the number of episodes among them, for it says which are the last ones."""
        config = {"dataset": self.config.dataset.fingerprint(), "num_episodes": self.size, "seed": self.config.seed}
        return {**policy_fingerprint(self.policy), "changes": changed_in(self.policy, self.changes), "held_out": config}

    def needs(self) -> Sequence[Work]:
        """Return the policy's training, and demonstrations to be recorded."""
        needed = (self.config.dataset, self.policy)
        return tuple(work for work in needed if isinstance(work, (TrainingRun, Demonstrations)))

    def perform(self, folder: Path, store: WorkFolders, device: str, on_progress: OnProgress) -> None:
        """Measure all episodes.

        Raises:
            ConfigurationError: The dataset has fewer.
        """
        policy = _policy(self.policy, self.changes, store, device)
        dataset = EpisodeDataset(self.config.dataset.root(store))
        if self.size > dataset.num_episodes:
            allowed = f"1 to {dataset.num_episodes}"
            raise ConfigurationError(f"held-out episodes of {dataset.root}", got=self.size, allowed=allowed)
        cache = encode(dataset, policy.networks.vae, policy.embodiment, device)
        executed = EXECUTED if EXECUTED in dataset.column_names else "action"
        rows: list[Row] = []
        on_progress(0, self.size, "")
        for number in range(dataset.num_episodes - self.size, dataset.num_episodes):
            latents = cache.load(number)
            sequence = make_sequence(dataset.episode(number), latents, policy.codec, executed_column=executed)
            error = open_loop_error(policy, [sequence], seed=self.config.seed + number)
            rows.append({"unit": number, **dataclasses.asdict(error)})
            on_progress(len(rows), self.size, f"action error {error.action_error:.3f}")
        write_json(folder / ERRORS_FILE, rows)

    def read(self, store: WorkFolders) -> list[Row]:
        """Return the figures of each episode; none before all are measured."""
        path = store.folder(self) / ERRORS_FILE
        return json.loads(path.read_text()) if path.exists() else []


def _policy(source: PolicySource, changes: Mapping[str, Any], store: WorkFolders, device: str) -> Policy:
    torch.set_num_threads(1)
    return with_settings(load(find_policy(source, store), device=device), **changes)
