"""Episodes of a fixed length, and how far imagination was from what the cameras saw, latent frame by latent frame."""

import json
from dataclasses import replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import foreact
from foreact.control.clock import VirtualClock
from foreact.control.latency import constant
from foreact.control.worker import VirtualWorker
from foreact.evaluation.episodes import EpisodeRecord, run_episode
from foreact.evaluation.robots import SimulatedRobot
from foreact.files import write_whole
from foreact.policy.controllers import ControlMode, control_config
from foreact.policy.policy import Policy
from foreact.settings import to_plain
from foreact.simulation.environment import BimanualEnv

LATENCIES_MS: dict[ControlMode, int] = {"open_loop": 0, "naive": 320, "grounded": 320, "synchronous": 0}
"""Controllers, and how long a chunk is said to take."""
NUM_ACTIONS = 400
"""Executed in every episode, success or not: 8 s."""
FRAMES_PER_CHUNK = 2
"""Latent frames of a chunk; open loop executes both, the others the first (320 ms)."""


class TirelessRobot(SimulatedRobot):
    """It goes on after success, until it has executed its actions."""

    def __init__(self, env: BimanualEnv, *, seed: int, control_hz: float, num_steps: int):
        """Reset the environment; be done after `num_steps`."""
        super().__init__(env, seed=seed, control_hz=control_hz)
        self._last_step = num_steps
        self.success_step: int | None = None

    def act(self, action: np.ndarray) -> None:
        """Execute one action."""
        super().act(action)
        if self.info["success"] and self.success_step is None:
            self.success_step = self.num_steps
        self.done = self.num_steps >= self._last_step


def run_one(policy_name: str, folder: Path, task: str, mode: ControlMode, seed: int) -> None:
    """Run an episode and write what came of it."""
    torch.set_num_threads(1)
    policy = load_policy(policy_name)
    env = BimanualEnv(task, cameras=policy.embodiment.cameras, max_steps=2 * NUM_ACTIONS)
    try:
        found = measure(policy, env, seed, mode)
    finally:
        env.close()
    found = {"task": task, "mode": mode, "seed": seed, "made_with": made_with(policy)} | found
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path_of(folder, task, mode, seed), (json.dumps(found) + "\n").encode())


def path_of(folder: Path, task: str, mode: ControlMode, seed: int) -> Path:
    """Return where an episode is kept."""
    return folder / f"{task}-{mode}-{seed}.json"


def made_with(policy: Policy) -> dict[str, Any]:
    """Return all that an episode depends on beside its task, controller and seed."""
    return {
        "weights": policy.digest(),
        "inference": to_plain(policy.config),
        "num_actions": NUM_ACTIONS,
        "latencies_ms": LATENCIES_MS,
    }


def is_there(path: Path, wanted: dict[str, Any]) -> bool:
    """Return whether an episode is kept that was `made_with` what is wanted."""
    return path.exists() and json.loads(path.read_text())["made_with"] == wanted


@cache
def load_policy(name: str) -> Policy:
    """Return the policy as it is studied."""
    policy = foreact.load(name)
    return policy.with_config(replace(policy.config, latent_frames_per_chunk=FRAMES_PER_CHUNK))


def measure(policy: Policy, env: BimanualEnv, seed: int, mode: ControlMode) -> dict[str, Any]:
    """Return in which latent frame the task was solved, and per latent frame the distances of `distances`."""
    timing, latency_s = policy.embodiment.timing, LATENCIES_MS[mode] / 1e3
    waited = round(latency_s * timing.action_hz)  # for the first chunk; nobody waits afterwards
    robot = TirelessRobot(env, seed=seed, control_hz=timing.action_hz, num_steps=NUM_ACTIONS + waited)
    clock = VirtualClock()
    result, record, _ = run_episode(
        policy,
        robot,
        control_config(policy, execution_horizon=None if mode == "open_loop" else 1),
        seed,
        mode=mode,
        clock=clock,
        worker=VirtualWorker(clock, constant(latency_s)),
    )
    solved = robot.success_step
    return {
        "solved_frame": None if solved is None else ceil((solved - waited) / timing.actions_per_latent_frame),
        "fallbacks": result.fallbacks,
        "late_chunks": result.late_chunks,
        "frames": distances(record, sees=mode != "open_loop"),
    }


def distances(record: EpisodeRecord, *, sees: bool) -> list[dict[str, Any]]:
    """Return for each latent frame that was executed how far imagination was from it (root mean square).

    Beside it stands how far the last frame was that the controller had seen when it imagined, and how many latent
    frames that was before; one that never looks has seen the first.
    """
    rows, latents, per_frame = [], record.latents, record.timing.actions_per_latent_frame
    for chunk, (placed, steps) in enumerate(record.spans()):
        imagined = placed.chunk.imagined_latents
        assert imagined is not None
        last_seen = (placed.begin_tick - placed.num_under_way) // per_frame if sees else 0
        for place in range(min(len(steps) // per_frame, imagined.shape[1])):
            frame = 1 + steps.start // per_frame + place
            if frame < latents.shape[1]:
                real = latents[:, frame]
                rows.append(
                    {
                        "frame": frame,
                        "chunk": chunk,
                        "imagined": _distance(torch.from_numpy(imagined[:, place]), real),
                        "held": _distance(latents[:, last_seen], real),
                        "ahead": frame - last_seen,
                    }
                )
    return rows


def _distance(guess: Tensor, real: Tensor) -> float:
    return (guess - real).square().mean().sqrt().item()
