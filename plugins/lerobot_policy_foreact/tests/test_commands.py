"""LeRobot's own commands, as a user runs them."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import foreact
import gymnasium as gym
import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.scripts import lerobot_eval, lerobot_train
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_policy_foreact import ForeactPolicy
from robots import Robot, record


class RobotEnv(gym.Env):
    """The robot in miniature as LeRobot's environments are."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 50}
    task = "wave"
    task_description = "Pick up the white cube."

    def __init__(self):
        pictures = gym.spaces.Dict({"top": gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)})
        joints = gym.spaces.Box(-10, 10, (14,), np.float32)
        self.observation_space = gym.spaces.Dict({"pixels": pictures, "agent_pos": joints})
        self.action_space = joints

    def reset(self, *, seed=None, options=None):
        self._robot = Robot(seed or 0)
        return self._observe(), {"is_success": False}

    def step(self, action):
        self._robot.act(action)
        return self._observe(), float(action.sum()), False, False, {"is_success": False}

    def _observe(self):
        return {"pixels": {"top": self.render()}, "agent_pos": self._robot.state}

    def render(self):
        return self._robot.picture()


gym.register("gym_miniature/Robot-v0", RobotEnv)


@EnvConfig.register_subclass("miniature")
@dataclass
class MiniatureEnv(EnvConfig):
    task: str | None = "Robot-v0"
    fps: int = 50
    episode_length: int = 40
    features: dict = field(
        default_factory=lambda: {
            ACTION: PolicyFeature(FeatureType.ACTION, (14,)),
            "agent_pos": PolicyFeature(FeatureType.STATE, (14,)),
            "pixels/top": PolicyFeature(FeatureType.VISUAL, (64, 64, 3)),
        }
    )
    features_map: dict = field(
        default_factory=lambda: {ACTION: ACTION, "agent_pos": OBS_STATE, "pixels/top": f"{OBS_IMAGES}.top"}
    )

    @property
    def gym_kwargs(self) -> dict:
        return {"max_episode_steps": self.episode_length}


def evaluate(monkeypatch, folder: Path, *settings: str) -> dict:
    """Run lerobot-eval in this process; return what it wrote."""
    told = ["--eval.n_episodes=2", "--eval.batch_size=2", "--eval.use_async_envs=false", f"--output_dir={folder}"]
    monkeypatch.setattr(sys, "argv", ["lerobot-eval", "--env.type=miniature", "--policy.device=cpu", *told, *settings])
    lerobot_eval.main()
    return json.loads((folder / "eval_info.json").read_text())["overall"]


def test_lerobot_eval_runs_a_folder_and_a_name_alike(make, monkeypatch, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / "policy")
    steps = ["--policy.n_action_steps=16", "--policy.video_steps=2", "--policy.action_steps=2"]
    named = evaluate(monkeypatch, tmp_path / "named", "--policy.type=foreact", "--policy.checkpoint=tiny", *steps)
    saved = evaluate(monkeypatch, tmp_path / "saved", f"--policy.path={tmp_path / 'policy'}", *steps)
    assert named["n_episodes"] == saved["n_episodes"] == 2
    assert named["avg_sum_reward"] == saved["avg_sum_reward"] != 0
    other = evaluate(monkeypatch, tmp_path / "other", f"--policy.path={tmp_path / 'policy'}", "--policy.seed=9", *steps)
    assert other["avg_sum_reward"] != saved["avg_sum_reward"]


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return foreact.load(checkpoint / "pretrained_model" / "foreact").networks.model.state_dict()


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Return the share of tensors that are equal to the last bit."""
    return sum(torch.equal(value, theirs[name]) for name, value in ours.items()) / len(ours)


def test_lerobot_train_and_resume(policy, monkeypatch, tmp_path: Path) -> None:
    record(tmp_path / "data", policy, lengths=(40, 50))
    run = tmp_path / "run"
    told = {
        "dataset.repo_id": "local/reach",
        "dataset.root": tmp_path / "data",
        "policy.type": "foreact",
        "policy.checkpoint": "tiny",
        "policy.device": "cpu",
        "policy.push_to_hub": "false",
        "policy.latent_frames": 3,
        "policy.scheduler_warmup_steps": 0,
        "batch_size": 2,
        "num_workers": 0,
        "steps": 3,
        "save_freq": 2,
        "log_freq": 1,
        "output_dir": run,
    }
    # A program of its own: it must find the policy by the name of its distribution.
    settings = [f"--{key}={value}" for key, value in told.items()]
    program = [sys.executable, "-m", "lerobot.scripts.lerobot_train", *settings]
    done = subprocess.run(program, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "dynamics:" in done.stdout + done.stderr
    second, third = (run / "checkpoints" / f"{step:06d}" for step in (2, 3))
    trained = foreact.load(third / "pretrained_model" / "foreact")
    assert trained.codec == policy.codec and trained.config == policy.config
    assert same(trained.networks.vae.state_dict(), policy.networks.vae.state_dict()) == 1
    uninterrupted = weights(third)
    assert same(uninterrupted, weights(second)) < 0.1 > same(weights(second), policy.networks.model.state_dict())
    config = f"--config_path={second / 'pretrained_model' / 'train_config.json'}"
    monkeypatch.setattr(sys, "argv", ["lerobot-train", config, "--resume=true"])
    lerobot_train.main()
    assert same(weights(third), uninterrupted) == 1
    assert ForeactPolicy.from_pretrained(third / "pretrained_model")._step == 3


@pytest.mark.slow
def test_lerobot_eval_on_aloha(tmp_path: Path) -> None:
    pytest.importorskip("gym_aloha")
    program = [sys.executable, "-m", "lerobot.scripts.lerobot_eval", "--policy.type=foreact", "--policy.device=cpu"]
    program += ["--env.type=aloha", "--env.task=AlohaTransferCube-v0", "--env.episode_length=36"]
    program += [
        "--policy.n_action_steps=16",
        "--eval.n_episodes=2",
        "--eval.batch_size=2",
        "--eval.use_async_envs=false",
    ]
    done = subprocess.run([*program, f"--output_dir={tmp_path / 'out'}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "out" / "eval_info.json").read_text())["overall"]["n_episodes"] == 2
