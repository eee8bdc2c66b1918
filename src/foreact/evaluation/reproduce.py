"""Measuring a published success rate again: the entry's tasks, one after the other or by a client of the server."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

from foreact.environments.registry import find, protocol_of
from foreact.errors import CheckpointError, ConfigurationError
from foreact.evaluation.reproduction_report import TaskCount, build_report, write_report
from foreact.evaluation.reproductions import Reproduction
from foreact.evaluation.suite import EvaluationConfig, evaluate
from foreact.files import write_whole
from foreact.policy.loading import load
from foreact.policy.policy import Policy
from foreact.policy.storage.checkpoint import find_policy
from foreact.policy.storage.published import is_published_layout
from foreact.serving.trials import Trial
from foreact.settings import to_plain

TRIALS_FILE = "trials.jsonl"


def load_for(entry: Reproduction, policy: str, **placement: Any) -> Policy:
    """Return the policy that an entry is run with.

    Args:
        entry: Which reproduction.
        policy: A shipped name, a folder, or a repository on the hub. A folder in the published layout gets the
            settings of the entry's checkpoint, whatever its name is.
        placement: As `foreact.load`.

    Raises:
        CheckpointError: There is no such policy, or it is damaged.
        ConfigurationError: It drives another robot.
    """
    settings = Path(entry.checkpoint).name if is_published_layout(find_policy(policy)) else None
    loaded = load(policy, settings=settings, **placement)
    if loaded.embodiment.name != entry.robot:
        raise ConfigurationError(
            f"policy {policy} in reproduction {entry.name!r}",
            got=f"one of robot {loaded.embodiment.name!r}",
            allowed=f"one of robot {entry.robot!r}",
            cure=f"use {entry.checkpoint}",
        )
    return loaded


def choose_worlds(entry: Reproduction, tasks: tuple[str, ...]) -> tuple[str, ...]:
    """Return the worlds of an entry that were asked for, all of them if `tasks` is empty.

    Args:
        entry: Which reproduction.
        tasks: Names of worlds, or the last parts of them: "drawer-open-v3".

    Raises:
        ConfigurationError: The entry has no such task, or its tasks are a client's affair.
    """
    if not tasks:
        return entry.worlds
    known = {world.split("/", 1)[1]: world for world in entry.worlds} | {world: world for world in entry.worlds}
    for task in tasks:
        if task not in known:
            allowed = ", ".join(entry.worlds) or "none: the client of the server chooses the tasks"
            raise ConfigurationError(f"task of reproduction {entry.name!r}", got=task, allowed=allowed)
    return tuple(dict.fromkeys(known[task] for task in tasks))


def run_worlds(
    entry: Reproduction,
    policy: Policy,
    folder: Path,
    *,
    policy_name: str,
    worlds: tuple[str, ...],
    num_episodes: int,
    patience: float = 1.0,
    on_episode: Callable[[str, int, int], None] | None = None,
    **how: Any,
) -> dict[str, Any]:
    """Run the episodes that are missing, write the report after every task, and return it.

    Args:
        entry: Which reproduction; its tasks run in this process.
        policy: Of the entry's robot.
        folder: Gets the report, and a folder for each task.
        policy_name: How the policy was asked for.
        worlds: Which of the entry's.
        num_episodes: Of each task.
        patience: Multiples of the time limit after which an episode is cut off; anything but 1 is another protocol.
        on_episode: Called after each episode with the world, how many of its episodes ended, how many succeeded.
        how: As `evaluate`: `workers`, `together`.

    Raises:
        NotInstalledError: The simulator is not installed.
        ConfigurationError: The policy's robot cannot act in a world.
        CheckpointError: The folder holds episodes of other settings or of another policy.
    """
    suite, _ = find(worlds[0])
    protocol = protocol_of(suite, entry.protocol)
    ran = _describe(policy, policy_name) | {"protocol": to_plain(protocol), "versions": suite.versions()}
    counts: list[TaskCount] = []
    report: dict[str, Any] = {}
    for world in worlds:
        config = EvaluationConfig(
            task=world, protocol=protocol.name, num_episodes=num_episodes, seed=entry.seed, patience=patience
        )
        count = TaskCount(task=world, successes=0, episodes=0)
        for result in evaluate(policy, config, folder / world.replace("/", "_"), **how):
            count = replace(count, successes=count.successes + result.success, episodes=count.episodes + 1)
            if on_episode is not None:
                on_episode(world, count.episodes, count.successes)
        counts.append(count)
        report = build_report(entry, counts, planned=num_episodes, ran=ran)
        write_report(report, folder)
    return report


def _describe(policy: Policy, name: str) -> dict[str, Any]:
    return {"policy": name, "digest": policy.digest(), "inference": to_plain(policy.config)}


class TrialLedger:
    """Episodes that clients of the server report, kept on disk; the first report of an episode counts.

    Its methods may be called from any thread.
    """

    def __init__(self, entry: Reproduction, policy: Policy, folder: Path, *, policy_name: str, num_episodes: int):
        """Read what an earlier call left in the folder.

        Args:
            entry: Which reproduction.
            policy: Which is served.
            folder: Gets `trials.jsonl` and the report.
            policy_name: How the policy was asked for.
            num_episodes: Of each task; further ones are not counted.

        Raises:
            CheckpointError: The folder holds episodes of another policy, or cannot be read.
        """
        self._entry, self._folder, self._num_episodes = entry, folder, num_episodes
        self._ran = _describe(policy, policy_name) | {"protocol": {"name": entry.protocol}, "versions": {}}
        self._lock = Lock()
        self._trials: dict[tuple[str, int], bool] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for line in self._read_lines():
            if line["digest"] != self._ran["digest"]:
                cure = "choose another folder"
                raise CheckpointError(f"episodes in {folder}", got="those of another policy", cure=cure)
            self._trials[line["task"], line["seed"]] = line["success"]

    def add(self, trial: Trial) -> None:
        """Keep an episode, and write the report of all so far."""
        with self._lock:
            key = trial.task, trial.seed
            if key in self._trials or self._num_of(trial.task) >= self._num_episodes:
                return
            self._trials[key] = trial.success
            write_whole(self._folder / TRIALS_FILE, "".join(self._lines()).encode())
            write_report(self.report(), self._folder)

    @property
    def num_trials(self) -> int:
        """Episodes that count."""
        return len(self._trials)

    @property
    def num_successes(self) -> int:
        """Those of them that succeeded."""
        return sum(self._trials.values())

    @property
    def num_wanted(self) -> int:
        """Episodes of all tasks together, after which the reproduction is done."""
        return self._entry.num_tasks * self._num_episodes

    def report(self) -> dict[str, Any]:
        """Return the report of the episodes so far, as plain data."""
        tasks = dict.fromkeys(task for task, _ in self._trials)
        counts = [
            TaskCount(
                task=task,
                successes=sum(won for (name, _), won in self._trials.items() if name == task),
                episodes=self._num_of(task),
            )
            for task in tasks
        ]
        return build_report(self._entry, counts, planned=self._num_episodes, ran=self._ran)

    def _num_of(self, task: str) -> int:
        return sum(name == task for name, _ in self._trials)

    def _lines(self) -> Iterator[str]:
        for (task, seed), success in self._trials.items():
            line = {"task": task, "seed": seed, "success": success, "digest": self._ran["digest"]}
            yield json.dumps(line) + "\n"

    def _read_lines(self) -> list[dict[str, Any]]:
        path = self._folder / TRIALS_FILE
        if not path.exists():
            return []
        try:
            return [json.loads(line) for line in path.read_text().splitlines()]
        except ValueError as error:
            cure = "remove it, or choose another folder"
            raise CheckpointError(f"file {path}", got=error, allowed="one JSON object a line", cure=cure) from error
