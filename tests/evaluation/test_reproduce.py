"""Published figures measured again, on tiny stand-ins of the published weights and on our own scene."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from foreact.embodiments import load_embodiment
from foreact.environments import find, protocol_of
from foreact.environments.environment import World
from foreact.errors import CheckpointError, ConfigurationError, NotInstalledError, UnknownNameError
from foreact.evaluation.episodes import evaluate_episode
from foreact.evaluation.reproduce import TrialLedger, choose_worlds, load_for, run_worlds
from foreact.evaluation.reproductions import REPRODUCTIONS, get_reproduction
from foreact.evaluation.suite import FIRST_HELD_OUT_SEED, EvaluationConfig, evaluate
from foreact.policy.policy import with_settings
from foreact.serving.trials import Trial

GOLDEN = Path(__file__).parents[1] / "golden"
STAND_INS = {"libero-long": "side_by_side", "robotwin": "t_shape"}
"""Recorded networks of a few thousand weights in the layout of the published folders."""


@pytest.mark.parametrize("name", REPRODUCTIONS)
def test_every_entry_is_of_things_that_exist(name) -> None:
    entry = get_reproduction(name)
    load_embodiment(entry.robot)
    assert entry.by_task.keys() <= set(entry.worlds)
    assert entry.dialect or len(entry.worlds) == entry.num_tasks
    for world in entry.worlds:
        try:
            suite, _ = find(world)
        except NotInstalledError:
            continue
        protocol = protocol_of(suite, entry.protocol)
        assert protocol.num_trials in (None, entry.num_episodes)
        assert FIRST_HELD_OUT_SEED % entry.num_episodes == 0, "a task's fixed starts, from the first on"


@pytest.mark.parametrize("name", STAND_INS)
def test_published_layout_gets_the_settings_of_the_entry(name, tmp_path) -> None:
    """Whatever the folder is called."""
    folder = shutil.copytree(GOLDEN / STAND_INS[name], tmp_path / "weights")
    entry = get_reproduction(name)
    assert load_for(entry, str(folder)).embodiment == load_embodiment(entry.robot)


def test_policy_of_another_robot_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match="policy tiny in reproduction 'metaworld-5'; got: one of robot 'aloha'"
    ):
        load_for(get_reproduction("metaworld-5"), "tiny")
    with pytest.raises(UnknownNameError, match=r"unknown reproduction; got: 'metaworld5'.*did you mean 'metaworld-5'"):
        get_reproduction("metaworld5")


def test_tasks_are_chosen_by_their_names() -> None:
    entry = get_reproduction("libero-long")
    assert choose_worlds(entry, ()) == entry.worlds
    assert choose_worlds(entry, ("10/3", "libero/10/0", "10/3")) == ("libero/10/3", "libero/10/0")
    with pytest.raises(ConfigurationError, match="task of reproduction 'libero-long'; got: 11/0; allowed: libero/10/0"):
        choose_worlds(entry, ("11/0",))
    with pytest.raises(ConfigurationError, match="the client of the server chooses the tasks"):
        choose_worlds(get_reproduction("robotwin"), ("beat_block",))


@pytest.mark.sim
def test_report_is_of_the_episodes_that_evaluate_runs(tmp_path, one_thread) -> None:
    entry = replace(get_reproduction("aloha"), worlds=("aloha/reach_cube", "aloha/lift_cube"))
    policy, seen = load_for(entry, "tiny"), []
    how = {"policy_name": "tiny", "worlds": entry.worlds, "num_episodes": 2, "patience": 0.3}
    report = run_worlds(entry, policy, tmp_path, **how, on_episode=lambda *what: seen.append(what))
    assert [what[:2] for what in seen] == [(world, number) for world in entry.worlds for number in (1, 2)]
    assert [row["task"] for row in report["tasks"]] == list(entry.worlds)
    lines = (tmp_path / "aloha_reach_cube/episodes.jsonl").read_text().splitlines()
    assert report["tasks"][0]["successes"] == sum(json.loads(line)["success"] for line in lines)
    assert report["protocol"]["name"] == "aloha-foreact" and report["versions"]["mujoco"]
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(report))
    again = run_worlds(entry, policy, tmp_path, **how)
    assert again == report, "episodes that are there are not run again"


@pytest.mark.sim
def test_libero_long_runs_on_a_stand_in(tmp_path, one_thread) -> None:
    """One episode of eight steps of one task: the same layout of files, cameras, actions and protocol."""
    entry = get_reproduction("libero-long")
    try:
        find(entry.worlds[0])
    except NotInstalledError as error:
        pytest.skip(str(error))
    policy = with_settings(load_for(entry, str(GOLDEN / "side_by_side")), video_steps=1, action_steps=1)
    how = {"policy_name": "stand-in", "worlds": entry.worlds[:1], "num_episodes": 1, "patience": 0.01}
    report = run_worlds(entry, policy, tmp_path, **how)
    assert report["overall"]["episodes"] == 1 and report["protocol"]["name"] == "libero-lingbot"
    assert not report["is_whole"] and report["versions"]["robosuite"] == "1.4.0"


class LongTask(World):
    """A stand-in for LIBERO: the hand goes where it is told, and the cameras show how far it came."""

    suite, task_name, instruction, control_hz, max_steps = "libero", "10/0", "push it", 20.0, 30
    cameras = ("agentview_rgb", "eye_in_hand_rgb")
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)

    def _reset(self, seed: int) -> None:
        self.given, self._hand = [], np.random.default_rng(seed).uniform(0, 1, 7)

    def _step(self, action: np.ndarray) -> tuple[float, bool, float]:
        self.given.append(action)
        self._hand = self._hand + 0.05 * action
        return 0.0, False, 0.0

    def state(self) -> np.ndarray:
        return np.append(self._hand, 0.0).astype(np.float32)

    def images(self) -> dict[str, np.ndarray]:
        shade = int(255 * (np.tanh(self._hand.sum()) + 1) / 2)
        return {camera: np.full((128, 128, 3), shade, np.uint8) for camera in self.cameras}


def test_published_libero_weights_are_run_as_the_policy_says(one_thread) -> None:
    """Twelve actions first, for the first frame stands in the first chunk; then sixteen after sixteen pictures."""
    policy = load_for(get_reproduction("libero-long"), str(GOLDEN / "side_by_side"))
    policy = with_settings(policy, video_steps=1, action_steps=1)
    env = LongTask()
    result, record = evaluate_episode(policy, env, 7)
    assert result.executed == [12, 16, 2] and result.steps == 30 and len(record.pictures) == 31
    env.reset(seed=7)
    session, given = policy.start("push it", seed=7), []
    policy.observe_first(session, {c: image[None] for c, image in env.images().items()}, env.state())
    for _ in range(2):
        actions, seen = policy.predict(session).actions, []
        for action in actions:
            env.step(action)
            seen.append(env.images())
        given.append(actions)
        policy.observe(session, {camera: np.stack([each[camera] for each in seen]) for camera in env.cameras}, actions)
    assert np.array_equal(record.executed[:28], np.concatenate(given)), "equal to the last bit"


def test_robot_of_raw_channels_cannot_wait(tmp_path) -> None:
    policy = load_for(get_reproduction("libero-long"), str(GOLDEN / "side_by_side"))
    with pytest.raises(ConfigurationError, match=r"latency_ms for robot 'libero_published'; got: 100.0; allowed: 0"):
        next(evaluate(policy, EvaluationConfig(task="lift_cube", latency_ms=100.0), tmp_path))


def test_trials_of_clients_are_counted_once_and_kept(tiny, tmp_path) -> None:
    entry = replace(get_reproduction("robotwin"), num_tasks=2)
    policy = tiny.policy()
    ledger = TrialLedger(entry, policy, tmp_path, policy_name="mine", num_episodes=2)
    for task, seed, success in [("a", 1, True), ("a", 1, False), ("a", 2, False), ("a", 3, True), ("b", 1, True)]:
        ledger.add(Trial(task=task, seed=seed, success=success))
    assert (ledger.num_trials, ledger.num_successes, ledger.num_wanted) == (3, 2, 4)
    again = TrialLedger(entry, policy, tmp_path, policy_name="mine", num_episodes=2)
    assert again.num_trials == 3 and again.report() == ledger.report()
    rows = {row["task"]: (row["successes"], row["episodes"]) for row in again.report()["tasks"]}
    assert rows == {"a": (1, 2), "b": (1, 1)}
    assert json.loads((tmp_path / "report.json").read_text())["overall"]["episodes"] == 3
    other = tiny.policy(networks=replace(tiny.networks(), model=tiny.model(seed=3)))
    with pytest.raises(CheckpointError, match=r"episodes in .*; got: those of another policy"):
        TrialLedger(entry, other, tmp_path, policy_name="mine", num_episodes=2)
    (tmp_path / "trials.jsonl").write_text("{")
    with pytest.raises(CheckpointError, match="one JSON object a line"):
        TrialLedger(entry, policy, tmp_path, policy_name="mine", num_episodes=2)
