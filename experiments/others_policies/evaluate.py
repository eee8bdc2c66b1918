"""Evaluate what train.py trained: by our evaluator, on the seeds that ours is evaluated on.

    python experiments/others_policies/evaluate.py act reach_cube

To be run by the Python of the environment that LeRobot is in. Episodes that are there are kept.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import torch
from contestants import CHUNK, CONTESTANTS, EPISODES, LAYOUT, RUN, TASKS, last_saved
from driving import ChunkController, Predict, config_for
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from pictures import IMAGES, STATE
from rich.progress import track

from foreact.embodiments import load_embodiment
from foreact.evaluation.episodes import EpisodeRecord, EpisodeResult, evaluate_controller
from foreact.evaluation.robots import SimulatedRobot
from foreact.evaluation.suite import EvaluationConfig, evaluate_runs
from foreact.simulation.environment import BimanualEnv
from foreact.studies.work import digest_of


def load(folder: Path) -> tuple[Predict, dict[str, Any]]:
    """Return a policy that LeRobot saved, and what names it."""
    settings = PreTrainedConfig.from_pretrained(folder)
    policy = get_policy_class(settings.type).from_pretrained(folder, config=settings).eval()
    prepare, finish = make_pre_post_processors(settings, pretrained_path=str(folder))

    @torch.inference_mode()
    def predict(images: Mapping[str, np.ndarray], state: np.ndarray) -> np.ndarray:
        pictures = {
            IMAGES + camera: torch.from_numpy(image).permute(2, 0, 1).float() / 255 for camera, image in images.items()
        }
        batch = prepare(pictures | {STATE: torch.from_numpy(state)})
        policy.reset()  # what is left of the chunk before, if not all of it was executed
        return finish(torch.cat([policy.select_action(batch) for _ in range(settings.n_action_steps)])).numpy()

    parameters = sum(parameter.numel() for parameter in policy.parameters())
    backbone = sum(p.numel() for name, p in policy.named_parameters() if "backbone" in name)
    counted = {"parameters": parameters, "backbone_parameters": backbone}
    return predict, {"policy": digest_of(str(folder), ("*.safetensors", "config.json")), **counted}


def main() -> None:
    given = _arguments()
    torch.set_num_threads(1)
    folder = given.out / f"{given.policy}-{given.task}"
    saved = last_saved(folder / RUN)
    if not saved.exists():
        sys.exit(f"{saved} is not there: train.py {given.policy} {given.task} comes first")
    predict, evaluated = load(saved)
    embodiment = replace(load_embodiment("aloha"), layout=LAYOUT)
    horizon = given.execution_horizon or CHUNK
    driven = config_for(embodiment, CHUNK, horizon)

    def run(env: BimanualEnv, seed: int) -> tuple[EpisodeResult, EpisodeRecord]:
        def start(robot: SimulatedRobot, seed: int) -> ChunkController:
            torch.manual_seed(seed)
            return ChunkController(predict, embodiment, lambda: robot.state)

        return evaluate_controller(start, env, seed, embodiment=embodiment, config=driven)

    details = EvaluationConfig(
        task=given.task, num_episodes=given.episodes, execution_horizon=given.execution_horizon, seed=given.seed
    )
    results = evaluate_runs(
        run,
        details,
        given.to or folder / EPISODES,
        evaluated=evaluated,
        robot=embodiment,
        executing_ms=1e3 * horizon / embodiment.timing.action_hz,
    )
    successes = sum(result.success for result in track(results, folder.name, total=given.episodes))
    print(f"{folder.name}: {successes} of {given.episodes} succeeded")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", choices=CONTESTANTS)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=EvaluationConfig.seed, help="of the first episode")
    parser.add_argument("--execution-horizon", type=int, help="actions of a chunk that are executed; all otherwise")
    parser.add_argument("--out", type=Path, default=Path("outputs/others"), help="where train.py wrote")
    parser.add_argument("--to", type=Path, help="gets the episodes; else a folder beside the weights")
    return parser.parse_args()


if __name__ == "__main__":
    main()
