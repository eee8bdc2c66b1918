"""What do fewer denoising steps cost, and what do they save? Success and milliseconds of every named schedule.

    python experiments/schedules/run.py --policy tiny

Episodes already in `--out` are kept; only what is missing is run. Writes result.json and figure.png into `--report`,
and prints the table. Chunks are timed pairwise: the schedules take turns, each on the same history, in one process.
"""

import argparse
import json
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from rich.progress import track
from scipy.stats import binomtest

import foreact
from foreact.evaluation.suite import EvaluationConfig, evaluate, read_results
from foreact.policy.policy import Policy
from foreact.policy.schedules import apply_schedule, describe_steps
from foreact.policy.session import Session

matplotlib.use("Agg")
from matplotlib import pyplot as plt

plt.style.use(str(files("foreact") / "foreact.mplstyle"))

TASKS = ("reach_cube", "lift_cube")
VARIANTS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "own": (None, {}),
    "exact": ("exact", {}),
    "exact-guidance-1": ("exact", {"video_guidance": 1.0}),
    "fast": ("fast", {}),
    "fast-even": ("fast", {}),
    "turbo": ("turbo", {}),
}
"""Name of a row to the schedule and what is changed beside it; "even" spaces the video's steps evenly in s, and is run
when asked for (`--rows`)."""
ROWS = [name for name in VARIANTS if name != "fast-even"]
PAIRED = ("only_this_succeeds", "only_own_succeeds")
"""Episodes of the same seed on which a row and the policy's own settings disagree."""
CHUNKS_PER_ROUND = 4
"""As long as an episode of lifting: the history grows from 1 to 13 latent frames."""


def evaluate_all(policies: dict[str, Policy], out: Path, num_episodes: int) -> dict[str, dict[str, Any]]:
    """Return for each row and task the summary, and how its episodes differ from those of the policy's own settings."""
    found: dict[str, dict[str, Any]] = {}
    for name, policy in policies.items():
        for task in TASKS:
            folder = out / f"{name}-{task}"
            config = EvaluationConfig(task=task, num_episodes=num_episodes)
            for _ in track(evaluate(policy, config, folder), str(folder), total=num_episodes):
                pass
            summary = json.loads((folder / "summary.json").read_text())
            outcomes = {r.seed: r.success for r in read_results(folder)}
            own = {r.seed: r.success for r in read_results(out / f"own-{task}")}
            kept = ("episodes", "success_rate", "ci95_low", "ci95_high", "progress", "imagination_error")
            found.setdefault(name, {})[task] = {key: summary[key] for key in kept} | {
                PAIRED[0]: sum(outcomes[seed] and not own[seed] for seed in outcomes),
                PAIRED[1]: sum(own[seed] and not outcomes[seed] for seed in outcomes),
            }
    return found


def time_all(policies: dict[str, Policy], num_rounds: int) -> dict[str, dict[str, float]]:
    """Return what a chunk takes, encoding what came of it included; the schedules alternate chunk by chunk."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in policies}
    num_frames = policies["own"].config.latent_frames_per_chunk * policies["own"].embodiment.timing.vae_factor
    for turn in track(range(num_rounds + 1), "timing"):
        rng = np.random.default_rng(turn)
        pictures = _pictures(policies["own"], 1, rng)
        sessions = {name: _begin(policy, pictures) for name, policy in policies.items()}
        for _ in range(CHUNKS_PER_ROUND):
            pictures = _pictures(policies["own"], num_frames, rng)
            order = list(policies)[turn % len(policies) :] + list(policies)[: turn % len(policies)]
            for name in order:
                begun = time.process_time(), time.perf_counter()
                chunk = policies[name].predict(sessions[name])
                policies[name].observe(sessions[name], pictures, chunk.actions)
                if turn:  # the first round warms up
                    spent[name].append((time.process_time() - begun[0], time.perf_counter() - begun[1]))
    return {name: _medians(np.array(spent[name]), np.array(spent["own"])) for name in policies}


def _medians(turns: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """Return medians and quartiles; columns are processor time and wall-clock time in seconds.

    With one thread both are the same on a free core; on a busy one only processor time says what a chunk takes.
    """
    low, middle, high = (1e3 * np.quantile(turns[:, 0], [0.25, 0.5, 0.75])).tolist()
    return {
        "chunk_ms": middle,
        "chunk_ms_quartile_1": low,
        "chunk_ms_quartile_3": high,
        "wall_ms": 1e3 * float(np.median(turns[:, 1])),
        "of_own_time": float(np.median(turns[:, 0] / own[:, 0])),
    }


def _begin(policy: Policy, pictures: dict[str, np.ndarray]) -> Session:
    session = policy.start("Pick up the white cube with the right arm.")
    policy.observe_first(session, pictures, np.zeros(policy.embodiment.num_dofs, np.float32))
    return session


def _pictures(policy: Policy, num_frames: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        camera: rng.integers(0, 256, (num_frames, 128, 128, 3), dtype=np.uint8) for camera in policy.embodiment.cameras
    }


def print_table(result: dict[str, Any]) -> None:
    """Print the table of the documents."""
    print("| schedule | steps | chunk | of own | reach_cube | lift_cube | imagination error reach / lift |")
    print("|---|---|---|---|---|---|---|")
    for name, row in result.items():
        tasks, cost = row["tasks"], row["time"]
        cells = [_success(tasks[task]) for task in TASKS]
        errors = " / ".join(f"{tasks[task]['imagination_error']:.2f}" for task in TASKS)
        costs = f"{cost['chunk_ms']:.0f} ms | {cost['of_own_time']:.2f}"
        print(f"| {name} | {row['steps']} | {costs} | {' | '.join(cells)} | {errors} |")


def print_pairs(result: dict[str, Any]) -> None:
    """Print whether a row differs from the policy's own settings on the same seeds: McNemar's exact test."""
    for name, row in result.items():
        gained, lost = (sum(row["tasks"][task][key] for task in TASKS) for key in PAIRED)
        if gained + lost:
            p = binomtest(gained, gained + lost).pvalue
            print(f"{name}: {gained} succeed only so, {lost} only on the policy's own settings, p = {p:.2g}")


def _success(found: dict[str, Any]) -> str:
    low, high = (round(100 * found[end]) for end in ("ci95_low", "ci95_high"))
    successes = round(found["success_rate"] * found["episodes"])
    return f"{100 * found['success_rate']:.0f} % ({low} to {high}), {successes} of {found['episodes']}"


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw success with its interval against the time of a chunk."""
    figure, axes = plt.subplots(1, len(TASKS), figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, task in zip(axes, TASKS, strict=True):
        for name, row in result.items():
            found, cost = row["tasks"][task], row["time"]["chunk_ms"]
            middle, low, high = (100 * found[key] for key in ("success_rate", "ci95_low", "ci95_high"))
            axis.errorbar(cost, middle, [[middle - low], [high - middle]], fmt="o", capsize=3, label=name)
        axis.set(title=task, xlabel="milliseconds per chunk, one core", xlim=(0, None), ylim=(0, 100))
    axes[0].set_ylabel("success, %, with 95 % interval")
    axes[-1].legend(loc="lower right")
    figure.savefig(path, dpi=110)


def _times(policies: dict[str, Policy], given: argparse.Namespace) -> dict[str, dict[str, float]]:
    path = given.out / "times.json"
    if not given.keep_times:
        path.write_text(json.dumps(time_all(policies, given.rounds), indent=1) + "\n")
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny", help="a shipped one, or a folder")
    parser.add_argument("--report", type=Path, default=Path("outputs/schedules"), help="gets result.json, figure.png")
    parser.add_argument("--out", type=Path, default=Path("outputs/schedules"), help="gets every episode")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=15, help="of timing, 4 chunks each")
    parser.add_argument("--keep-times", action="store_true", help="take the times measured last")
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=list(VARIANTS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded = foreact.load(given.policy)
    rows = ["own", *(row for row in given.rows if row != "own")]  # what the others are compared with
    policies = {row: apply_schedule(loaded, VARIANTS[row][0], **VARIANTS[row][1]) for row in rows}
    if "fast-even" in policies:  # against its training, so no schedule offers it
        own = policies["fast-even"].config
        evenly = replace(own, trained=replace(own.trained, video_shift=1.0))
        policies["fast-even"] = policies["fast-even"].with_config(evenly)
    found = evaluate_all(policies, given.out, given.episodes)
    times = _times(policies, given)
    result = {
        row: {"steps": describe_steps(policy.config), "tasks": found[row], "time": times[row]}
        for row, policy in policies.items()
    }
    given.report.mkdir(parents=True, exist_ok=True)
    (given.report / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    draw(given.report / "figure.png", result)
    print_table(result)
    print_pairs(result)


if __name__ == "__main__":
    main()
