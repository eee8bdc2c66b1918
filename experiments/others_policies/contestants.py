"""What is trained: LeRobot's ACT and Diffusion Policy as small as they get, with LeRobot's own settings otherwise.

Both see what ours sees: one camera, 64x64. Neither takes words, so each learns one task.
"""

from pathlib import Path
from typing import Literal, get_args

from foreact.embodiments import CameraLayout

Contestant = Literal["act", "diffusion"]
CONTESTANTS: tuple[Contestant, ...] = get_args(Contestant)
TASKS = ("reach_cube", "lift_cube", "transfer_cube")
LAYOUT = CameraLayout(kind="side_by_side", cameras=("top",), height=64, width=64)
"""What they see, and what ours does."""
HELD_OUT = 5
"""Last episodes of each dataset that nobody learns from."""
CHUNK = 64
"""Actions of a chunk."""
BATCH = 16
RUN = "run"
"""LeRobot's own folder in that of a training."""

EPISODES = "episodes"
"""The folder of its evaluation beside it."""

Settings = dict[str, str | int | float]


def policy_settings(contestant: Contestant, num_steps: int) -> Settings:
    """Return LeRobot's settings of a contestant, those that are not its defaults."""
    # No weights of others: ImageNet's, with which both begin otherwise, would be more data, not another policy.
    both: Settings = {
        "type": contestant,
        "device": "cpu",
        "push_to_hub": "false",
        "pretrained_backbone_weights": "null",
    }
    if contestant == "act":
        return both | {
            "chunk_size": CHUNK,
            "n_action_steps": CHUNK,
            "dim_model": 128,
            "n_heads": 4,
            "dim_feedforward": 512,
            # LeRobot's 1e-5 is for a wide network that begins with ImageNet's weights.
            "optimizer_lr": 1e-4,
            "optimizer_lr_backbone": 1e-4,
        }
    return both | {
        "horizon": CHUNK,
        "n_action_steps": CHUNK,
        "n_obs_steps": 1,  # our robots' cameras take a picture every fourth control step: there is no step before it
        "drop_n_last_frames": 0,  # horizon - n_action_steps - n_obs_steps + 1
        "use_group_norm": "true",  # as its authors do without ImageNet's weights
        "down_dims": "[64,128,256]",
        "noise_scheduler_type": "DDIM",
        "num_inference_steps": 10,
        "scheduler_warmup_steps": max(1, num_steps // 20),
    }


def training_command(
    program: Path,
    contestant: Contestant,
    demonstrations: Path,
    num_episodes: int,
    out: Path,
    *,
    num_steps: int,
    seed: int,
    num_saved: int = 8,
) -> list[str]:
    """Return LeRobot's command for a training from scratch.

    Args:
        program: `lerobot-train`.
        contestant: Which policy.
        demonstrations: The copy that `copy_demonstrations` made.
        num_episodes: The first so many are learned from.
        out: LeRobot's folder, which must not exist.
        num_steps: Steps of training.
        seed: Of weights, batches and noise.
        num_saved: Times that it is saved on the way; 0: not even at the end.
    """
    details: Settings = {
        "dataset.repo_id": f"local/{demonstrations.name}",
        "dataset.root": str(demonstrations),
        "dataset.episodes": str(list(range(num_episodes))).replace(" ", ""),
        **{f"policy.{name}": value for name, value in policy_settings(contestant, num_steps).items()},
        "batch_size": BATCH,
        "num_workers": 0,
        "steps": num_steps,
        "save_freq": max(1, num_steps // max(1, num_saved)),
        "save_checkpoint": "true" if num_saved else "false",
        "log_freq": 50,
        "seed": seed,
        "output_dir": str(out),
    }
    return [str(program), *(f"--{name}={value}" for name, value in details.items())]


def resuming_command(program: Path, out: Path) -> list[str]:
    """Return LeRobot's command that goes on from what is saved in `out`."""
    return [str(program), f"--config_path={last_saved(out) / 'train_config.json'}", "--resume=true"]


def last_saved(out: Path) -> Path:
    """Return the folder of the weights that were saved last, there or not."""
    return out / "checkpoints" / "last" / "pretrained_model"
