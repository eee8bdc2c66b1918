import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foreact.codecs.text import HashedWordEncoder
from foreact.codecs.video_vae import VideoVAE
from foreact.embodiments import ActionCodec, load_embodiment
from foreact.errors import CheckpointError, ConfigurationError, UnknownNameError
from foreact.evaluation.episodes import EpisodeResult
from foreact.evaluation.suite import EvaluationConfig, evaluate, evaluate_runs, read_results, summarise
from foreact.policy.networks import Networks
from foreact.policy.policy import Policy
from foreact.simulation.tasks import TASKS
from foreact.training.video_vae_config import VideoVAETrainingConfig

CONFIG = EvaluationConfig(task="reach_cube", num_episodes=4, seed=10)
PROMISED = {
    "task",
    "episodes",
    "success_rate",
    "ci95_low",
    "ci95_high",
    "progress",
    "chunk_ms",
    "realtime_ratio",
}
TIMINGS = {"chunk_ms", "realtime_ratio", "stage_ms"}


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny.policy()


def summary_of(folder: Path) -> dict:
    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "summary.json").read_text(), parse_constant=refuse)


def untimed(results: list[EpisodeResult]) -> list[EpisodeResult]:
    return [replace(result, stage_ms=[]) for result in results]


def test_an_evaluation(policy, toy_world, tmp_path) -> None:
    records = []
    results = list(evaluate(policy, CONFIG, tmp_path / "e", on_record=lambda *both: records.append(both)))
    assert [(r.seed, r.success, r.steps) for r in results] == [
        (10, True, 13),
        (11, False, 20),
        (12, True, 13),
        (13, False, 20),
    ]
    assert [result for result, _ in records] == results
    assert toy_world[0].resets == [10, 11, 12, 13] and toy_world[0].closed
    summary = summary_of(tmp_path / "e")
    assert set(summary) >= PROMISED
    assert (summary["task"], summary["episodes"], summary["success_rate"]) == ("reach_cube", 4, 0.5)
    assert (summary["ci95_low"], summary["ci95_high"]) == pytest.approx((0.15004, 0.84996), abs=1e-5)
    assert summary["progress"] == pytest.approx((1 + 0.5) / 2)
    assert summary["steps_to_success"] == 13
    # 8 actions at 50 Hz take 160 ms.
    assert summary["realtime_ratio"] == pytest.approx(summary["chunk_ms"] / 160)
    lines = (tmp_path / "e/episodes.jsonl").read_text().splitlines()
    assert [EpisodeResult(**json.loads(line)) for line in lines] == results


@pytest.mark.parametrize("stop_after", [1, 3])
def test_interrupted_and_resumed(policy, toy_world, tmp_path, one_thread, stop_after: int) -> None:
    straight = list(evaluate(policy, CONFIG, tmp_path / "a"))
    running = evaluate(policy, CONFIG, tmp_path / "b")
    first = [next(running) for _ in range(stop_after)]
    running.close()
    assert toy_world[1].closed and not (tmp_path / "b/summary.json").exists()
    resumed = list(evaluate(policy, CONFIG, tmp_path / "b"))
    assert resumed[:stop_after] == first
    assert toy_world[2].resets == [10, 11, 12, 13][stop_after:]
    assert untimed(resumed) == untimed(straight)
    one, other = summary_of(tmp_path / "a"), summary_of(tmp_path / "b")
    assert one.keys() == other.keys()
    assert all(one[key] == other[key] for key in one.keys() - TIMINGS)


def test_a_line_cut_off_is_done_again(policy, toy_world, tmp_path) -> None:
    list(evaluate(policy, CONFIG, tmp_path))
    path = tmp_path / "episodes.jsonl"
    text = path.read_text()
    path.write_text(text[: len(text) - 40])
    assert len(read_results(tmp_path)) == 3
    assert len(list(evaluate(policy, CONFIG, tmp_path))) == 4
    assert toy_world[1].resets == [13]


@pytest.mark.parametrize("other", ["weights", "inference", "task", "seed"])
def test_a_folder_of_something_else_is_refused(tiny, policy, toy_world, tmp_path, other: str) -> None:
    list(evaluate(policy, replace(CONFIG, num_episodes=1), tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    config, theirs = replace(CONFIG, num_episodes=1), policy
    if other == "weights":
        theirs = tiny.policy()
        with torch.no_grad():
            theirs.networks.model.video.embed.weight[0, 0] += 1
    elif other == "inference":
        theirs = policy.with_config(replace(policy.config, video_steps=3))
    else:
        changes = {"task": {"task": "lift_cube"}, "seed": {"seed": 3}}
        config = replace(config, **changes[other])
    with pytest.raises(CheckpointError, match="another"):
        list(evaluate(theirs, config, tmp_path))
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def result(**changes) -> EpisodeResult:
    settings = {
        "seed": 0,
        "success": True,
        "progress": 1.0,
        "steps": 5,
        "stage": "done",
        "imagination_error": [],
        "stage_ms": [{"imagine": 30.0, "encode": 10.0}],
        "executed": [5],
    }
    return EpisodeResult(**(settings | changes))


def summed(policy, results: list[EpisodeResult]) -> dict:
    executing_ms = 1e3 * policy.actions_per_chunk / policy.embodiment.timing.action_hz
    return summarise(CONFIG, results, executing_ms=executing_ms)


def test_summary_of_episodes_that_end_within_their_first_chunk(policy, toy_world, tmp_path) -> None:
    """The summary is JSON all the same."""
    text = json.dumps(summed(policy, [result()]))
    assert "NaN" not in text and "Infinity" not in text


def test_summary_counts_every_stage_of_every_chunk(policy) -> None:
    long = result(
        success=False,
        progress=0.25,
        steps=20,
        stage_ms=[{"imagine": 50.0}, {"imagine": 70.0, "encode": 30.0}, {"imagine": 10.0}],
        executed=[8, 8, 4],
        imagination_error=[1.0, 2.0],
    )
    summary = summed(policy, [result(imagination_error=[3.0]), long])
    assert summary["chunk_ms"] == 45.0  # median of 40, 50, 100, 10
    assert summary["realtime_ratio"] == pytest.approx(45 / 160)
    assert summary["imagination_error"] == 2.0
    assert summary["progress"] == 0.625
    assert summary["stage_ms"] == {"encode": 5.0, "imagine": 40.0}
    assert summed(policy, [replace(long)])["steps_to_success"] is None


def test_unknown_tasks_list_the_known() -> None:
    with pytest.raises(UnknownNameError, match="reach_cube"):
        EvaluationConfig(task="reach_cub")


@pytest.mark.parametrize(
    "change",
    [{"num_episodes": 0}, {"controller": "open_loop", "execution_horizon": 4}, {"patience": 0.0}, {"latency_ms": -1.0}],
)
def test_impossible_settings_are_refused(change: dict) -> None:
    with pytest.raises(ConfigurationError):
        replace(CONFIG, **change)


@pytest.mark.parametrize("horizon", [0, -4, 3, 12])
def test_horizons_that_are_no_latent_frames_are_refused(policy, toy_world, tmp_path, horizon: int) -> None:
    with pytest.raises(ConfigurationError, match="multiples of 4 up to 8"):
        list(evaluate(policy, replace(CONFIG, execution_horizon=horizon), tmp_path / "e"))
    assert not (tmp_path / "e").exists()


@pytest.mark.sim
def test_in_simulation(tiny, tmp_path, monkeypatch) -> None:
    """A policy that has learned nothing, on the real robot and task, for a chunk and a bit."""
    task = replace(TASKS["reach_cube"], max_steps=70)
    monkeypatch.setitem(TASKS, "reach_cube", task)
    embodiment = load_embodiment("aloha")
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 30)) * embodiment.channel_mask
    vae = VideoVAETrainingConfig(
        encoder_width=4,
        decoder_width=4,
        num_channels=4,
        width_multipliers=(1, 1, 1),
        temporal_downsampling=(True, True),
    ).build_autoencoder()
    model = tiny.model(
        canvas=embodiment.layout.canvas_shape(8),
        actions_per_latent_frame=embodiment.timing.actions_per_latent_frame,
    )
    networks = Networks(model=model, vae=VideoVAE(vae).eval(), text_encoder=HashedWordEncoder(dim=8))
    inference = tiny.inference(latent_frames_per_chunk=4)
    policy = Policy(networks, ActionCodec.fit(embodiment, actions), inference)
    (only,) = evaluate(policy, EvaluationConfig(task="reach_cube", num_episodes=1), tmp_path)
    assert only.executed == [64, 6] and not only.success and only.steps == 70
    assert len(only.imagination_error) == 1 and np.isfinite(only.imagination_error[0])
    assert summary_of(tmp_path)["realtime_ratio"] > 0


def test_more_episodes_add_to_those_there(policy, toy_world, tmp_path) -> None:
    first = list(evaluate(policy, replace(CONFIG, num_episodes=1), tmp_path))
    both = list(evaluate(policy, replace(CONFIG, num_episodes=2), tmp_path))
    assert both[0] == first[0] and [result.seed for result in both] == [CONFIG.seed, CONFIG.seed + 1]
    assert json.loads((tmp_path / "summary.json").read_text())["episodes"] == 2
    list(evaluate(policy, replace(CONFIG, num_episodes=1), tmp_path))
    assert json.loads((tmp_path / "summary.json").read_text())["episodes"] == 1


def test_what_is_evaluated_need_not_be_a_policy(policy, toy_world, tmp_path) -> None:
    ran: list[int] = []

    def run(env, seed: int):
        ran.append(seed)
        assert env is toy_world[-1] and env.cameras == ("top",)
        return result(seed=seed, success=seed == 10), None

    robot = replace(policy.embodiment, layout=replace(policy.embodiment.layout, cameras=("top",)))
    stored = {"evaluated": {"policy": "abc"}, "robot": robot, "executing_ms": 80.0}
    first = list(evaluate_runs(run, replace(CONFIG, num_episodes=2), tmp_path, **stored))
    assert ran == [10, 11] and [each.success for each in first] == [True, False] and toy_world[0].closed
    assert json.loads((tmp_path / "evaluation.json").read_text())["policy"] == "abc"
    assert list(evaluate_runs(run, CONFIG, tmp_path, **stored))[:2] == first and ran == [10, 11, 12, 13]
    assert summary_of(tmp_path)["realtime_ratio"] == pytest.approx(40 / 80)
    with pytest.raises(CheckpointError, match="another"):
        list(evaluate_runs(run, CONFIG, tmp_path, **(stored | {"evaluated": {"policy": "abd"}})))
