"""A chunk on the policy's own schedule, and on fewer steps: milliseconds of one core, turn about in one process.

Processor time of predicting a chunk and taking in what came of it, medians over the turns, with 16 latent frames of
history to begin with. What fewer steps do to success is in docs/schedules.md.

    python benchmarks/few_steps.py [--policy tiny] [--turns 30] [--out benchmarks/results]
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import foreact
from foreact.files import write_whole
from foreact.policy.policy import Policy, with_settings
from foreact.policy.session import Session

WORDS = "Pick up the white cube with the right arm."
HISTORY = 4
"""Chunks that have been seen before the first turn counts."""
SCHEDULES = {"own": None, "2 + 1": (2, 1), "1 + 1": (1, 1)}
"""Video and action steps."""


def on_schedule(policy: Policy, steps: tuple[int, int] | None) -> Policy:
    return policy if steps is None else with_settings(policy, video_steps=steps[0], action_steps=steps[1])


def pictures(policy: Policy, num_frames: int) -> dict[str, np.ndarray]:
    layout, rng = policy.embodiment.layout, np.random.default_rng(0)
    sizes = zip(layout.cameras, layout.picture_sizes, strict=True)
    return {camera: rng.integers(0, 256, (num_frames, *size, 3), dtype=np.uint8) for camera, size in sizes}


def begin(policy: Policy) -> Session:
    session = policy.start(WORDS, seed=0)
    policy.observe_first(session, pictures(policy, 1), np.zeros(policy.embodiment.num_state_entries, np.float32))
    return session


def turn(policy: Policy, session: Session, seen: dict[str, np.ndarray]) -> dict[str, float]:
    """Return processor milliseconds of predicting a chunk, and of taking in what came of it."""
    begun = time.process_time()
    chunk = policy.predict(session)
    predicted = time.process_time()
    policy.observe(session, seen, chunk.actions)
    return {"predict": 1e3 * (predicted - begun), "observe": 1e3 * (time.process_time() - predicted)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--out", type=Path)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    policy = foreact.load(settings.policy)
    policies = {name: on_schedule(policy, steps) for name, steps in SCHEDULES.items()}
    seen = pictures(policy, policy.config.latent_frames_per_chunk * policy.embodiment.timing.vae_factor)
    sessions = {name: begin(each) for name, each in policies.items()}
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in policies}
    for number in range(HISTORY + settings.turns):
        for name, each in policies.items():
            taken = turn(each, sessions[name], seen)
            if number >= HISTORY:
                spent[name].append(taken)
    rows = {
        name: {part: statistics.median(turn[part] for turn in turns) for part in ("predict", "observe")}
        for name, turns in spent.items()
    }
    for row in rows.values():
        row["chunk"] = row["predict"] + row["observe"]
    for name, row in rows.items():
        share = rows["own"]["chunk"] / row["chunk"]
        parts = "  ".join(f"{part} {value:6.1f}" for part, value in row.items())
        print(f"{name:6} {parts} ms  x {share:.2f}")
    if settings.out is not None:
        details = {"policy": settings.policy, "turns": settings.turns, "machine": platform.processor(), "ms": rows}
        write_whole(settings.out / "few_steps.json", (json.dumps(details, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
