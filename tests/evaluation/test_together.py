"""Episodes that share one network find what they find one by one."""

import json
from dataclasses import replace

import numpy as np
import pytest

import foreact
from foreact.errors import ConfigurationError, SimulationError
from foreact.evaluation.suite import EvaluationConfig, evaluate
from foreact.evaluation.together import run_together
from foreact.evaluation.workers import WorldSettings
from foreact.simulation.disturbances import UNDISTURBED

CONFIG = EvaluationConfig(task="reach_cube", num_episodes=3, patience=0.35)


def comparable(results: list) -> list:
    """Without times; numbers that rounding touches are compared apart."""
    return [replace(each, stage_ms=[], imagination_error=[], disagreement=[], seam_jerk=None) for each in results]


@pytest.mark.sim
@pytest.mark.parametrize("controller", ["synchronous", pytest.param("grounded", marks=pytest.mark.slow)])
def test_two_together_find_what_one_does(controller, tmp_path, one_thread) -> None:
    """More seeds than processes, so that one begins a second episode while the other is in its first."""
    policy = foreact.load("tiny")
    latency = {} if controller == "synchronous" else {"latency_ms": 320.0}
    config = replace(CONFIG, controller=controller, **latency)
    alone = list(evaluate(policy, config, tmp_path / "alone"))
    together = list(evaluate(policy, config, tmp_path / "together", together=2))
    assert comparable(together) == comparable(alone)
    for mine, oracle in zip(together, alone, strict=True):
        assert len(mine.stage_ms) == len(oracle.stage_ms)
        np.testing.assert_allclose(mine.imagination_error, oracle.imagination_error, rtol=1e-3)
        np.testing.assert_allclose(mine.disagreement, oracle.disagreement, rtol=1e-3)
    assert json.loads((tmp_path / "together/summary.json").read_text())["episodes"] == 3
    assert list(evaluate(policy, config, tmp_path / "together", together=2)) == together, "nothing is run again"


@pytest.mark.slow
@pytest.mark.sim
def test_same_command_gives_the_same_to_the_last_bit(tmp_path, one_thread) -> None:
    policy = foreact.load("tiny")
    first, second = (list(evaluate(policy, CONFIG, tmp_path / name, together=2)) for name in ("a", "b"))
    assert [replace(each, stage_ms=[]) for each in first] == [replace(each, stage_ms=[]) for each in second]


@pytest.mark.sim
def test_process_that_fails_says_why(one_thread) -> None:
    """The world of a task that does not exist, which only the process finds out."""
    policy = foreact.load("tiny")
    world = WorldSettings(name="fly", robot=policy.embodiment, protocol=None, patience=1.0, disturbance=UNDISTURBED)
    with pytest.raises(SimulationError, match=r"(?s)simulator of fly; got: .*unknown task; got: 'fly'"):
        list(run_together(policy, world, [1, 2], together=2, mode="synchronous"))


@pytest.mark.sim
def test_process_that_ends_is_noticed(one_thread, monkeypatch) -> None:
    policy = foreact.load("tiny")
    robot = replace(policy.embodiment, name="x")
    monkeypatch.setattr(WorldSettings, "__reduce__", lambda self: (exit, (3,)), raising=False)
    world = WorldSettings(name="reach_cube", robot=robot, protocol=None, patience=1.0, disturbance=UNDISTURBED)
    with pytest.raises(SimulationError, match=r"simulator of reach_cube; got: a process that ended with status 3"):
        list(run_together(policy, world, [1], together=1, mode="synchronous"))


def test_what_does_not_go_together_is_refused(tiny, toy_world, tmp_path) -> None:
    policy = tiny.policy()
    with pytest.raises(ConfigurationError, match=r"together; got: 0; allowed: 1 or more"):
        list(evaluate(policy, CONFIG, tmp_path, together=0))
    with pytest.raises(ConfigurationError, match=r"got: 4 episodes together and 2 workers; allowed: one of the two"):
        list(evaluate(policy, CONFIG, tmp_path, together=4, workers=2))
    with pytest.raises(ConfigurationError, match=r"records of episodes; got: episodes in several processes"):
        list(evaluate(policy, CONFIG, tmp_path, together=2, on_record=lambda *both: None))
