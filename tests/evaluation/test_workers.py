import json
from dataclasses import replace

import pytest

import foreact
from foreact.errors import ConfigurationError
from foreact.evaluation.suite import EvaluationConfig, evaluate
from foreact.simulation.tasks import TASKS

CONFIG = EvaluationConfig(task="reach_cube", num_episodes=3, patience=0.35)


@pytest.mark.sim
def test_two_processes_find_what_one_does(tmp_path, one_thread) -> None:
    """To the last bit, times aside; episodes that are there are not run again."""
    policy = foreact.load("tiny-disturbed")
    alone = list(evaluate(policy, CONFIG, tmp_path / "alone"))
    list(evaluate(policy, replace(CONFIG, num_episodes=1), tmp_path / "shared"))
    shared = list(evaluate(policy, CONFIG, tmp_path / "shared", workers=2))
    assert [replace(result, stage_ms=[]) for result in shared] == [replace(result, stage_ms=[]) for result in alone]
    assert shared[0].steps == round(0.35 * TASKS["reach_cube"].max_steps) or shared[0].success
    assert json.loads((tmp_path / "shared/summary.json").read_text())["episodes"] == 3
    assert list(evaluate(policy, CONFIG, tmp_path / "shared", workers=2)) == shared


def test_what_does_not_go_with_workers_is_refused(tiny, toy_world, tmp_path) -> None:
    policy = tiny.policy()
    with pytest.raises(ConfigurationError, match=r"workers; got: 0; allowed: 1 or more"):
        list(evaluate(policy, CONFIG, tmp_path, workers=0))
    with pytest.raises(
        ConfigurationError, match=r"records of episodes; got: episodes in several processes; .*use one worker"
    ):
        list(evaluate(policy, CONFIG, tmp_path, workers=2, on_record=lambda *both: None))
