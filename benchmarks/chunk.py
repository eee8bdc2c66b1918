"""What a chunk costs: milliseconds per stage of the shipped policy, against the time the robot takes to execute it.

Also how the cost grows with history: the same chunk with an empty and with a full window, alternating in one run.

    python benchmarks/chunk.py [--policy tiny] [--chunks 20] [--threads 2]
"""

import argparse
import json
import statistics

import numpy as np
import torch

import foreact
from foreact.policy.checkpoint import with_settings


def predict_and_observe(policy, session, rng) -> dict[str, float]:
    """Predict a chunk, show the session noise pictures as what came of it; return milliseconds per stage.

    A chunk's figures hold the encoding and appending of the chunk before it: what is paid per turn of the loop.
    """
    frames = policy.config.latent_frames_per_chunk * policy.embodiment.timing.vae_factor
    chunk = policy.predict(session)
    policy.observe(session, _noise_pictures(policy, frames, rng), chunk.actions)
    return dict(chunk.stage_ms)


def measure(policy, num_history_chunks: int, num_chunks: int) -> list[dict[str, float]]:
    """Return milliseconds per stage of `num_chunks` chunks after a history."""
    rng = np.random.default_rng(0)
    session = policy.start("Pick up the white cube with the right arm.")
    state = np.zeros(policy.embodiment.num_dofs, dtype=np.float32)
    policy.observe_first(session, _noise_pictures(policy, 1, rng), state)
    turns = [predict_and_observe(policy, session, rng) for _ in range(1 + num_history_chunks + num_chunks)]
    return turns[1 + num_history_chunks :]


def _noise_pictures(policy, num_frames: int, rng) -> dict[str, np.ndarray]:
    shape = (num_frames, 128, 128, 3)
    return {camera: rng.integers(0, 256, shape, dtype=np.uint8) for camera in policy.embodiment.cameras}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--chunks", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    policy = with_settings(foreact.load(given.policy), window=32)
    executing_ms = 1e3 * policy.actions_per_chunk / policy.embodiment.timing.action_hz
    history = {"empty history": 0, "full window": -(-policy.config.window // policy.config.latent_frames_per_chunk)}
    table = {}
    for name, chunks in history.items():
        spent = measure(policy, chunks, given.chunks)
        table[name] = {stage: statistics.median(s[stage] for s in spent) for stage in spent[0]}
        table[name]["chunk"] = sum(table[name].values())
        table[name]["realtime_ratio"] = table[name]["chunk"] / executing_ms
    if given.json:
        print(json.dumps(table, indent=1))
        return
    print(f"{given.policy}, {given.threads} threads, medians over {given.chunks} chunks, milliseconds")
    print(f"executing a chunk takes {executing_ms:.0f} ms")
    for name, stages in table.items():
        figures = "  ".join(f"{stage} {value:.3g}" for stage, value in stages.items())
        print(f"{name:14s} {figures}")


if __name__ == "__main__":
    main()
