"""Others' policies in the evaluator's seat, with one that is made up: LeRobot is not needed."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from foreact.control.controller import Controller, Turn
from foreact.errors import InputError
from foreact.evaluation.episodes import EpisodeResult, evaluate_controller
from foreact.types import Observation


class Made:
    """Tells what it was shown; its actions are the state and then one more each."""

    def __init__(self):
        self.shown = []

    def __call__(self, images, state):
        self.shown.append((images, state))
        return state + np.arange(8, dtype=np.float64)[:, None]


def frames(num: int) -> dict[str, np.ndarray]:
    return {camera: np.full((num, 32, 16, 3), 10 + np.arange(num)[:, None, None, None], np.uint8) for camera in "ab"}


def test_each_chunk_is_decided_from_the_newest_picture_and_the_joints_as_they_are(modules, tiny) -> None:
    embodiment = tiny.embodiment()
    layout = dataclasses.replace(embodiment.layout, cameras=("b",))
    predict, states = Made(), iter([np.full(3, 0.5, np.float32), np.full(3, 0.7, np.float32)])
    controller = modules["driving"].ChunkController(
        predict, dataclasses.replace(embodiment, layout=layout), lambda: next(states)
    )
    assert isinstance(controller, Controller) and controller.waits and not controller.inpaints
    first = {camera: clip[0] for camera, clip in frames(1).items()}
    chunk = controller.begin(Observation(images=first, state=np.zeros(3, np.float32), time_s=0.0))
    assert chunk.actions.dtype == np.float32 and chunk.actions.shape == (8, 3)
    assert chunk.stage_ms["predict"] > 0
    none = np.zeros((0, 3), np.float32)
    controller.proceed(Turn(images=frames(4), executed=none, under_way=none, prefix=none))
    shades = [
        {camera: set(image.reshape(-1).tolist()) for camera, image in images.items()} for images, _ in predict.shown
    ]
    assert shades == [{"b": {10}}, {"b": {13}}]
    assert [images["b"].shape for images, _ in predict.shown] == [(16, 8, 3)] * 2  # as the layout says
    assert [state[0] for _, state in predict.shown] == pytest.approx([0.5, 0.7])


def test_a_camera_that_is_missing_is_told(modules, tiny) -> None:
    controller = modules["driving"].ChunkController(Made(), tiny.embodiment(), lambda: np.zeros(3, np.float32))
    images = {camera: clip[0] for camera, clip in frames(1).items()}
    with pytest.raises(InputError, match="top"):
        controller.begin(Observation(images=images, state=np.zeros(3, np.float32), time_s=0.0))


@pytest.mark.parametrize(("horizon", "executed"), [(8, [8, 5]), (4, [4, 4, 4, 1])])
def test_an_episode(modules, tiny, toy_env, horizon: int, executed: list[int]) -> None:
    embodiment, driving, seeds = tiny.embodiment(), modules["driving"], []

    def start(robot, seed):
        seeds.append(seed)
        return driving.ChunkController(Made(), embodiment, lambda: robot.state)

    config = driving.config_for(embodiment, 8, horizon)
    result, record = evaluate_controller(start, toy_env(), 4, embodiment=embodiment, config=config)
    assert (result.success, result.steps, result.executed, seeds) == (True, 13, executed, [4])
    # Every chunk goes on from where the joints were when it was asked for.
    counted = record.executed[0] + np.cumsum([0, *(int(n % horizon != 0) for n in range(1, 13))])[:, None]
    np.testing.assert_allclose(record.executed, counted, atol=1e-5)


@pytest.mark.parametrize("name", ["act", "diffusion"])
def test_the_command(modules, name: str) -> None:
    command = modules["contestants"].training_command(
        Path("bin/lerobot-train"), name, Path("copies/reach"), 3, Path("run"), num_steps=100, seed=7
    )
    assert command[0] == "bin/lerobot-train"
    stored = dict(word.removeprefix("--").split("=", 1) for word in command[1:])
    assert len(stored) == len(command) - 1
    assert stored["dataset.episodes"] == "[0,1,2]" and stored["dataset.root"] == "copies/reach"
    assert (stored["policy.type"], stored["policy.device"], stored["steps"], stored["seed"]) == (
        name,
        "cpu",
        "100",
        "7",
    )
    assert stored["policy.pretrained_backbone_weights"] == "null" and stored["policy.n_action_steps"] == "64"
    assert stored["save_freq"] == "12"
    resumed = modules["contestants"].resuming_command(Path("bin/lerobot-train"), Path("run"))
    assert resumed[1:] == ["--config_path=run/checkpoints/last/pretrained_model/train_config.json", "--resume=true"]


def episodes(successes: list[bool]) -> dict[int, EpisodeResult]:
    some = {"progress": 0.5, "steps": 9, "stage": "push", "imagination_error": [], "executed": [8]}
    return {
        seed: EpisodeResult(seed=seed, success=success, stage_ms=[{"a": 1.0, "b": float(seed)}], **some)
        for seed, success in enumerate(successes)
    }


def test_the_figures(modules) -> None:
    theirs, ours = episodes([True, False, True, False]), episodes([True, True, False, False])
    measured = modules["tell"].measure(theirs)
    assert (measured["successes"], measured["success_rate"], measured["chunk_ms"]) == (2, 0.5, 2.5)
    assert measured["success_ci95"] == pytest.approx((0.15004, 0.84996), abs=1e-5)
    compared = modules["tell"].compare(theirs, ours)
    assert (compared["only_it_succeeds"], compared["only_ours_succeeds"]) == (1, 1)
    assert compared["difference"] == 0 and compared["mcnemar_p"] == 1
    assert modules["tell"].compare(episodes([True] * 4), episodes([False] * 4))["difference"] == 1


def test_the_table(modules, tmp_path) -> None:
    tell = modules["tell"]
    row = {"policy": "act", "task": "reach_cube", **tell.measure(episodes([True, False]))}
    row |= {"parameters": 13_100_000, "backbone_parameters": 11_200_000, "core_s": 90.0, "steps": 5, "tasks_at_once": 1}
    pair = {"policy": "act", "task": "reach_cube", **tell.compare(episodes([True, False]), episodes([True, True]))}
    text = tell.tell({"episodes": 2, "rows": [row], "comparisons": [pair]})
    assert "| reach_cube | act | 50% (9 to 91) | 0.50 | 13.1 M (11.2 M) | 2 | 5 | 2 ms |" in text
    assert "| reach_cube | act | 0 / 1 | -50 %" in text
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{tell.BEGIN}\nold\n{tell.END}\nafter\n")
    tell.write_readme(readme, text)
    assert text in readme.read_text() and "old" not in readme.read_text()
    assert readme.read_text().startswith("before\n") and readme.read_text().endswith("\nafter\n")
    assert tell.tell({"episodes": 2, "rows": [], "comparisons": []}) == "Nothing has been run yet."


def test_only_whole_evaluations_of_the_same_policy_and_settings_count(modules, tiny, tmp_path) -> None:
    tell, policy = modules["tell"], tiny.policy()
    settings = {"task": "reach_cube", "seed": 0}

    def write(folder: Path, successes: list[bool], **changes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(dataclasses.asdict(each)) for each in episodes(successes).values()]
        (folder / "episodes.jsonl").write_text("\n".join(lines) + "\n")
        stored = {"evaluation": settings, "policy": policy.digest(), "parameters": 3, "backbone_parameters": 2}
        (folder / "evaluation.json").write_text(json.dumps(stored | changes))

    given = SimpleNamespace(ours=f"{tmp_path}/ours-{{task}}", out=tmp_path, episodes=2, policy="tiny")
    given.ours_core_minutes, given.ours_tasks = 10, 3
    act = tmp_path / "act-reach_cube"
    write(act / "episodes", [True])
    assert tell.gather(given, policy)["rows"] == []  # one episode of two
    (act / "training.json").write_text(json.dumps({"core_s": 60.0, "steps": 7}))
    write(act / "episodes", [True, False])
    write(tmp_path / "ours-reach_cube", [True, True])
    result = tell.gather(given, policy)
    assert [(row["policy"], row["core_s"], row["steps"]) for row in result["rows"]] == [
        ("ours", 600, None),
        ("act", 60.0, 7),
    ]
    assert result["rows"][0]["parameters"] > 1000 and result["comparisons"][0]["only_ours_succeeds"] == 1
    write(act / "episodes", [True, False], evaluation=settings | {"seed": 5})
    with pytest.raises(SystemExit, match="different settings"):
        tell.gather(given, policy)
    write(tmp_path / "ours-reach_cube", [True, True], policy="other")
    with pytest.raises(SystemExit, match="another policy"):
        tell.gather(given, policy)
