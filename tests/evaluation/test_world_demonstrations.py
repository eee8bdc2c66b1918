from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from foreact.codecs.video_vae import VideoVAE
from foreact.commands.main import main
from foreact.data.episodes import EpisodeDataset
from foreact.data.sequences import EXECUTED
from foreact.embodiments import CameraLayout, load_embodiment
from foreact.environments import registry
from foreact.environments.environment import World
from foreact.environments.suites import Request, Suite
from foreact.errors import ConfigurationError, DatasetError, NotInstalledError, SimulationError
from foreact.evaluation import world_demonstrations
from foreact.evaluation.world_demonstrations import WorldCollectionConfig, collect_in_world
from foreact.training.video_vae_config import VideoVAETrainingConfig


class Rail(World):
    """A hand on a rail that is to reach 1; its expert does not know how at every third seed."""

    suite, instruction, control_hz, max_steps, cameras = "rail", "Go right.", 80.0, 60, ("corner2",)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)

    def __init__(self, task: str, request: Request):
        self.task_name, self.size, self.num_pictures = task, request.image_size, 0
        self.instruction = "Go right." if task == "right" else "Go far."
        self.resets: list[int] = []
        made.append(self)

    def _reset(self, seed: int) -> None:
        self.resets.append(seed)
        self.seed, self.place = seed, 0.0

    def _step(self, action: np.ndarray) -> tuple[float, bool, float]:
        self.place += 0.1 * float(action[0])
        return 0.0, self.place >= 0.95, max(0.0, min(1.0, self.place))

    def state(self) -> np.ndarray:
        return np.array([self.place, 0.0, self.seed, 1.0], np.float32)

    def images(self) -> dict[str, np.ndarray]:
        self.num_pictures += 1
        return {"corner2": np.full((self.size, self.size, 3), int(40 + 150 * abs(self.place)) % 256, np.uint8)}


class RailExpert:
    def __init__(self, env):
        self.env = env

    def act(self) -> np.ndarray:
        return np.array([0.0 if self.env.seed % 3 == 0 else 0.5, 0.0, 0.0, -1.0], np.float32)


made: list[Rail] = []


@pytest.fixture(autouse=True)
def rail(monkeypatch) -> None:
    suite = Suite(
        name="rail",
        make=Rail,
        tasks=lambda: ("right", "far"),
        protocols=("gym-registered",),
        robot="sawyer",
        packages=("numpy",),
        extra="rail",
        make_expert=RailExpert,
    )
    real = registry.get_suite
    monkeypatch.setattr(registry, "get_suite", lambda name: suite if name == "rail" else real(name))
    made.clear()


@pytest.fixture
def config() -> WorldCollectionConfig:
    return WorldCollectionConfig(world="rail/right", num_episodes=3, seed=3, image_size=16)


@pytest.fixture(scope="module")
def robot():
    return replace(
        load_embodiment("sawyer"),
        layout=CameraLayout(kind="side_by_side", cameras=("corner2",), height=16, width=16),
    )


def test_successes_are_recorded_at_the_rate_of_the_cameras(config, robot, tmp_path) -> None:
    assert list(collect_in_world(config, tmp_path, robot)) == [1, 2, 3]
    dataset = EpisodeDataset(tmp_path)
    assert (dataset.num_episodes, dataset.fps, dataset.robot_type) == (3, 80, "sawyer")
    assert [episode.column("observation.state")[0, 2] for episode in dataset] == [4, 5, 7]
    episode = dataset.episode(0)
    assert episode.length == 19 + world_demonstrations.HOLD_STEPS and episode.instruction == "Go right."
    assert (episode.column("action")[:, 0] == 0.5).all() and (episode.column("action")[:, 3] == -1).all()
    frames = episode.frames("observation.images.corner2", range(6)).mean(axis=(1, 2, 3))
    assert abs(frames[0] - frames[1]) < 2 < abs(frames[2] - frames[1]), "every second row has a picture of its own"
    assert made[0].num_pictures < 3 * 60 / 2 + 60


def test_an_interrupted_recording_goes_on(config, robot, tmp_path) -> None:
    list(collect_in_world(config, tmp_path / "straight", robot))
    running = collect_in_world(config, tmp_path / "resumed", robot)
    next(running)
    running.close()
    assert list(collect_in_world(config, tmp_path / "resumed", robot)) == [2, 3]
    assert list(collect_in_world(config, tmp_path / "resumed", robot)) == []
    for name in ("action", EXECUTED, "observation.state"):
        one, other = (EpisodeDataset(tmp_path / folder).column(name) for folder in ("straight", "resumed"))
        np.testing.assert_array_equal(one, other)


def test_noise_is_executed_and_labels_stay_clean(config, robot, tmp_path) -> None:
    list(collect_in_world(replace(config, num_episodes=1, noise_scale=0.3), tmp_path, robot))
    episode = EpisodeDataset(tmp_path).episode(0)
    noise = episode.column(EXECUTED) - episode.column("action")
    assert (episode.column("action")[:, 0] == 0.5).all() and not noise[:, 3].any()
    assert 0.1 < noise[:, :3].std() < 0.5 and np.abs(episode.column(EXECUTED)).max() <= 1.0


def test_two_tasks_do_not_share_a_dataset(config, robot, tmp_path) -> None:
    list(collect_in_world(replace(config, num_episodes=1), tmp_path, robot))
    with pytest.raises(DatasetError, match=r"episodes of 'Go right\.'.*'Go far\.'; record into a new folder"):
        list(collect_in_world(replace(config, world="rail/far"), tmp_path, robot))


def test_an_expert_that_never_succeeds(config, robot, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(world_demonstrations, "MAX_FAILURES", 1)
    with pytest.raises(SimulationError, match="expert in rail/right; got: 1 failures in a row; lower noise_scale"):
        list(collect_in_world(config, tmp_path, robot))


@pytest.mark.parametrize(
    "change", [{"num_episodes": 0}, {"image_size": 15}, {"image_size": 0}, {"noise_scale": -1.0}, {"seed": -1}]
)
def test_impossible_settings_are_refused(config, change: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(change))):
        replace(config, **change)


def test_worlds_without_an_expert_are_refused(config) -> None:
    with pytest.raises(ConfigurationError, match="expert in gym_aloha/AlohaInsertion-v0; got: none"):
        replace(config, world="gym_aloha/AlohaInsertion-v0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "world; got: neither --task nor --env; allowed: --task with one of reach_cube"),
        (["--env", "rail"], "unknown task of rail; got: ''; allowed: far, right"),
        (["--env", "rail/right", "--disturbance", "nudge"], "disturbance in rail/right; got: nudge"),
        (["--task", "reach_cube", "--noise-scale", "0.1"], "--noise-scale and --protocol in our own scene"),
    ],
)
def test_what_the_command_refuses(tmp_path, capsys, words: list[str], message: str) -> None:
    with pytest.raises(SystemExit):
        main(["collect", *words, "--out", str(tmp_path / "d")])
    assert message in capsys.readouterr().err and not (tmp_path / "d").exists()


@pytest.mark.sim
def test_a_policy_is_trained_and_evaluated_in_metaworld(tmp_path, capsys) -> None:
    """The commands of a newcomer, with a VAE and a network too small to learn anything."""
    try:
        registry.find("metaworld/drawer-open-v3")
    except NotInstalledError as error:
        pytest.skip(str(error))

    def run(*words: object) -> None:
        main([str(word) for word in words])

    world = ("--env", "metaworld/drawer-open-v3")
    run("collect", *world, "--episodes", 2, "--image-size", 96, "--noise-scale", 0.2, "--out", tmp_path / "d")
    dataset = EpisodeDataset(tmp_path / "d")
    assert (dataset.num_episodes, dataset.robot_type) == (2, "sawyer")
    assert dataset.episode(0).instruction == "Drawer open."
    config = VideoVAETrainingConfig(
        encoder_width=4,
        decoder_width=4,
        num_channels=16,
        width_multipliers=(1, 1, 1),
        temporal_downsampling=(True, True),
    )
    VideoVAE(config.build_autoencoder()).eval().save(tmp_path / "vae")
    given = ("--recipe", "tiny-metaworld", "--data", tmp_path / "d", "--vae", tmp_path / "vae", "--threads", 1)
    run("encode", *given)
    small = ("--num-held-out", 1, "--batch.global-batch", 2, "--batch.micro-batch", 2, "--transformer.num-layers", 1)
    run("train", *given, "--out", tmp_path / "run", "--optimization.num-steps", 2, *small)
    policy = ("--policy", tmp_path / "run/policy", "--episodes", 1, "--threads", 1)
    run("evaluate", *policy, *world, "--out", tmp_path / "e")
    assert "protocol" in capsys.readouterr().out
    run("evaluate", *policy, *world, "--out", tmp_path / "e")  # nothing is left to do
    with pytest.raises(SystemExit):
        run("evaluate", *policy, "--task", "lift_cube", "--out", tmp_path / "other")
    assert "robot 'sawyer' in lift_cube; got: unknown camera; got: 'corner2'" in capsys.readouterr().err


def test_sizes_are_the_robots(config, tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="robot 'aloha' in rail/right"):
        list(collect_in_world(config, Path(tmp_path), load_embodiment("aloha")))
