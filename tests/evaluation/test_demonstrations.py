from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from foreact.data.episodes import EpisodeDataset
from foreact.data.sequences import EXECUTED
from foreact.embodiments import CameraLayout, Embodiment, load_embodiment
from foreact.errors import ConfigurationError, DatasetError, SimulationError, UnknownNameError
from foreact.evaluation.demonstrations import DISTURBED, CollectionConfig, collect
from foreact.simulation.demonstrations import Demonstration, rollout_expert
from foreact.simulation.disturbances import KINDS, Disturbance
from foreact.simulation.tasks import get_task

CONFIG = CollectionConfig(task="reach_cube", num_episodes=3, seed=7, image_size=16)
ROWS = 6


@dataclass(frozen=True, kw_only=True)
class Sketch(Demonstration):
    """A made-up episode whose numbers are its seed's; the pictures are grey."""

    def render(self, env=None, **_):
        for row in range(ROWS):
            yield {camera: np.full((16, 16, 3), 20 * row, np.uint8) for camera in env.cameras}


@pytest.fixture
def experts(monkeypatch) -> list[int]:
    """Experts that fail at every third seed; the seeds they were asked for are listed here."""
    asked: list[int] = []

    def rollout(task: str, seed: int, noise_scale_rad: float, *, env, miss_probability: float) -> Demonstration:
        asked.append(seed)
        rng = np.random.default_rng(seed)
        actions = rng.normal(size=(ROWS, 14)).astype(np.float32)
        return Sketch(
            task=task,
            seed=seed,
            success=seed % 3 != 0,
            progress=1.0,
            instruction=get_task(task).instruction,
            actions=actions,
            executed_actions=actions + np.float32(noise_scale_rad),
            states=rng.normal(size=(ROWS, 14)).astype(np.float32),
            positions=np.zeros((ROWS, 1)),
        )

    monkeypatch.setattr("foreact.evaluation.demonstrations.rollout_expert", rollout)
    return asked


@pytest.fixture(scope="module")
def robot() -> Embodiment:
    """One camera is enough."""
    layout = CameraLayout(kind="side_by_side", cameras=("top",), height=16, width=16)
    return replace(load_embodiment("aloha"), layout=layout)


def numbers(root: Path) -> list[np.ndarray]:
    dataset = EpisodeDataset(root)
    return [dataset.column(name) for name in ("action", EXECUTED, "observation.state")]


def test_only_successes_are_kept(experts, robot, tmp_path) -> None:
    assert list(collect(CONFIG, tmp_path / "d", robot)) == [1, 2, 3]
    assert experts == [7, 8, 9, 10]
    dataset = EpisodeDataset(tmp_path / "d")
    assert (dataset.num_episodes, dataset.fps, dataset.robot_type) == (3, 50, "aloha")
    assert dataset.camera_keys == ["observation.images.top"]
    assert dataset.frame_size("observation.images.top") == (16, 16)
    assert dataset.episode(0).instruction == get_task(CONFIG.task).instruction
    for episode, seed in zip(dataset, (7, 8, 10), strict=True):
        label = np.random.default_rng(seed).normal(size=(ROWS, 14)).astype(np.float32)
        np.testing.assert_array_equal(episode.column("action"), label)
        np.testing.assert_allclose(episode.column(EXECUTED), label + np.float32(CONFIG.noise_scale_rad), atol=1e-6)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_interrupted_and_resumed(experts, robot, tmp_path, stop_after: int) -> None:
    list(collect(CONFIG, tmp_path / "straight", robot))
    running = collect(CONFIG, tmp_path / "resumed", robot)
    for _ in range(stop_after):
        next(running)
    running.close()
    assert EpisodeDataset(tmp_path / "resumed").num_episodes == stop_after
    assert list(collect(CONFIG, tmp_path / "resumed", robot)) == list(range(stop_after + 1, 4))
    for mine, oracle in zip(numbers(tmp_path / "resumed"), numbers(tmp_path / "straight"), strict=True):
        np.testing.assert_array_equal(mine, oracle)


def test_an_interrupt_while_pictures_are_taken(experts, robot, tmp_path, monkeypatch) -> None:
    running = collect(CONFIG, tmp_path / "d", robot)
    next(running)
    real = Sketch.render

    def interrupted(self, env=None, **_):
        yield from list(real(self, env))[:2]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Sketch, "render", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(running)
    assert EpisodeDataset(tmp_path / "d").num_episodes == 1
    assert list(collect(CONFIG, tmp_path / "d", robot)) == [2, 3]
    list(collect(CONFIG, tmp_path / "straight", robot))
    for mine, oracle in zip(numbers(tmp_path / "d"), numbers(tmp_path / "straight"), strict=True):
        np.testing.assert_array_equal(mine, oracle)


def test_more_can_be_added_and_enough_is_enough(experts, robot, tmp_path) -> None:
    list(collect(replace(CONFIG, num_episodes=1), tmp_path / "d", robot))
    assert list(collect(CONFIG, tmp_path / "d", robot)) == [2, 3]
    assert list(collect(CONFIG, tmp_path / "d", robot)) == []
    assert list(collect(replace(CONFIG, num_episodes=2), tmp_path / "d", robot)) == []


def test_an_expert_that_never_succeeds(experts, robot, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("foreact.evaluation.demonstrations.MAX_FAILURES", 1)
    with pytest.raises(SimulationError, match="failures in a row"):
        list(collect(CONFIG, tmp_path / "d", robot))
    assert EpisodeDataset(tmp_path / "d").num_episodes == 2


def test_other_settings_do_not_mix(experts, robot, tmp_path) -> None:
    list(collect(replace(CONFIG, num_episodes=1), tmp_path / "d", robot))
    with pytest.raises(DatasetError):
        list(collect(replace(CONFIG, image_size=32), tmp_path / "d", robot))
    assert EpisodeDataset(tmp_path / "d").num_episodes == 1


def test_two_tasks_do_not_share_a_dataset(experts, robot, tmp_path) -> None:
    list(collect(replace(CONFIG, num_episodes=1), tmp_path / "d", robot))
    for num_episodes in (1, 2):
        with pytest.raises(DatasetError, match=r"Reach for .*those of lift_cube; record into a new folder"):
            list(collect(replace(CONFIG, task="lift_cube", num_episodes=num_episodes), tmp_path / "d", robot))
    assert EpisodeDataset(tmp_path / "d").num_episodes == 1


@pytest.mark.sim
def test_what_went_wrong_is_recorded_with_the_episode(tmp_path) -> None:
    config = replace(
        CONFIG, task="lift_cube", num_episodes=1, seed=3, disturbance=Disturbance(name="nudge", nudge_cm=4.0)
    )
    assert list(collect(replace(config, cameras=("top",)), tmp_path / "d", load_embodiment("aloha"))) == [1]
    dataset = EpisodeDataset(tmp_path / "d")
    disturbed = dataset.episode(0).column(DISTURBED)
    assert dataset.camera_keys == ["observation.images.top"]
    ((row, kind),) = np.argwhere(disturbed)
    assert KINDS[kind] == "nudge" and 20 < row < 60 and abs(disturbed[row, kind] - 0.04) < 1e-6


@pytest.mark.sim
def test_a_real_expert_recorded(robot, tmp_path) -> None:
    """The dataset holds what a second run of the same seed does, and pictures that change."""
    config = replace(CONFIG, num_episodes=1, seed=3)
    assert list(collect(config, tmp_path / "d", robot)) == [1]
    episode = EpisodeDataset(tmp_path / "d").episode(0)
    again = rollout_expert("reach_cube", 3)
    assert again.success
    np.testing.assert_array_equal(episode.column("action"), again.actions)
    np.testing.assert_array_equal(episode.column(EXECUTED), again.executed_actions)
    np.testing.assert_array_equal(episode.column("observation.state"), again.states)
    frames = episode.frames("observation.images.top", [0, episode.length - 1])
    assert frames.std() > 5 and not np.array_equal(frames[0], frames[1])


def test_unknown_tasks_list_the_known() -> None:
    with pytest.raises(UnknownNameError, match="lift_cube, "):
        CollectionConfig(task="lift_cub")


@pytest.mark.parametrize("change", [{"num_episodes": 0}, {"image_size": 15}, {"image_size": 0}, {"seed": -1}])
def test_impossible_settings_are_refused(change: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(change))):
        replace(CONFIG, **change)
