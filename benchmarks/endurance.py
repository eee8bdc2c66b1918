"""Hours of control: thousands of chunks in one session; does memory grow, does a chunk take longer?

The shipped policy's network in a closed loop without pictures: random latents and actions are appended, a chunk is
predicted in one step of video and one of actions, and again. A chunk of the shipped policy lasts 1.28 s on the robot,
so ten thousand are three and a half hours. Exits with 1 if memory grows once the window is full.

    python benchmarks/endurance.py [--chunks 10000] [--window 64] [--out benchmarks/results]
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from scipy import stats

import foreact
from foreact.files import write_whole
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Rollout

MB = 1e6
MOST_GROWTH = 0.01
MOST_GROWTH_MB = 20
SAMPLES = 100
"""Memory is looked at so many times."""
BLOCKS = 10
"""Times are summed up over so many stretches."""


@dataclass(frozen=True)
class Line:
    """A least-squares line with the 95 % interval of its slope, per thousand chunks."""

    slope: float
    low: float
    high: float

    @staticmethod
    def through(chunks: np.ndarray, values: np.ndarray) -> "Line":
        """Return the line that lies closest to the values."""
        fit = stats.linregress(chunks / 1000, values)
        half = stats.t.ppf(0.975, len(chunks) - 2) * fit.stderr
        return Line(float(fit.slope), float(fit.slope - half), float(fit.slope + half))

    def __str__(self) -> str:
        return f"{self.slope:+.4f} ({self.low:+.4f} to {self.high:+.4f}) per 1000 chunks"


def resident_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1024 / MB


def begin(name: str, window: int) -> tuple[Predictor, Rollout]:
    policy = foreact.load(name)
    config = replace(policy.config, window=window, video_steps=1, video_steps_executed=1, action_steps=1)
    predictor = Predictor(policy.networks.model, config, torch.from_numpy(policy.codec.mask.copy()))
    encode = policy.networks.text_encoder.encode
    return predictor, predictor.start(encode(["Pick up the white cube."]), encode([""]), seed=0)


def turn(predictor: Predictor, rollout: Rollout, num_frames: int) -> None:
    """Append what was seen, predict what comes."""
    sizes, generator = predictor.model.config, rollout.generator
    actions = torch.randn(num_frames, sizes.actions_per_latent_frame, sizes.action_channels, generator=generator)
    latents = torch.randn(sizes.latent_channels, num_frames, *sizes.canvas, generator=generator)
    predictor.append_observed(rollout, latents, actions * predictor.channel_mask)
    if not predictor.predict(rollout).actions.isfinite().all():
        raise SystemExit(f"frame {rollout.next_frame}: actions that are no numbers")
    rollout.trace.take()


def measure(predictor: Predictor, rollout: Rollout, num_chunks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (CPU ms, wall ms) of every chunk, and [sample, (chunks done, MB)]."""
    cpu_ms, wall_ms = np.zeros(num_chunks), np.zeros(num_chunks)
    memory = np.zeros((SAMPLES, 2))
    turn(predictor, rollout, 1)
    looks = np.linspace(num_chunks / SAMPLES, num_chunks, SAMPLES).astype(int)
    for chunk in range(num_chunks):
        start = time.process_time(), time.perf_counter()
        turn(predictor, rollout, predictor.config.latent_frames_per_chunk)
        cpu_ms[chunk] = 1e3 * (time.process_time() - start[0])
        wall_ms[chunk] = 1e3 * (time.perf_counter() - start[1])
        for look in np.flatnonzero(looks == chunk + 1):
            memory[look] = chunk + 1, resident_mb()
        if (chunk + 1) % (num_chunks // BLOCKS) == 0:
            print(f"{chunk + 1} chunks, {resident_mb():.1f} MB", file=sys.stderr, flush=True)
    return cpu_ms, wall_ms, memory


def draw(path: Path, memory: np.ndarray, blocks: list[dict]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.style.use(str(files("foreact") / "foreact.mplstyle"))
    figure, axes = plt.subplots(2, 1, figsize=(8, 5), sharex=True)
    axes[0].plot(*memory.T)
    axes[0].set(ylabel="resident memory, MB", ylim=(0, 1.2 * memory[:, 1].max()))
    ends = [block["last"] for block in blocks]
    axes[1].plot(ends, [block["cpu_ms"] for block in blocks], "o-", label="median")
    quartiles = zip(*(block["cpu_quartiles_ms"] for block in blocks), strict=True)
    axes[1].fill_between(ends, *quartiles, alpha=0.2, label="half of all chunks")
    axes[1].set(xlabel="chunks", ylabel="CPU time of a chunk, ms", ylim=(0, None))
    axes[1].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda target: figure.savefig(target, format="png", dpi=120))


def summarize(cpu_ms: np.ndarray, wall_ms: np.ndarray, memory: np.ndarray) -> list[dict]:
    blocks = []
    for chunks in np.array_split(np.arange(len(cpu_ms)), BLOCKS):
        cpu = cpu_ms[chunks]
        blocks.append(
            {
                "last": int(chunks[-1]) + 1,
                "cpu_ms": float(np.median(cpu)),
                "cpu_quartiles_ms": np.quantile(cpu, [0.25, 0.75]).tolist(),
                "wall_ms": float(np.median(wall_ms[chunks])),
                "memory_mb": float(memory[memory[:, 0] <= chunks[-1] + 1][-1, 1]),
            }
        )
    return blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--window", type=int, default=64, help="latent frames")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    predictor, rollout = begin(given.policy, given.window)
    cpu_ms, wall_ms, memory = measure(predictor, rollout, given.chunks)
    full = memory[memory[:, 0] * predictor.config.latent_frames_per_chunk >= given.window]
    blocks = summarize(cpu_ms, wall_ms, memory)
    steady = blocks[1:]  # the window fills in the first
    slopes = {
        "memory_mb": Line.through(*full.T),
        "cpu_ms": Line.through(*(np.array([b[key] for b in steady], dtype=float) for key in ("last", "cpu_ms"))),
    }
    growth = full[-1, 1] - full[0, 1]
    result = {
        "policy": given.policy,
        "chunks": given.chunks,
        "latent_frames": rollout.next_frame,
        "window": given.window,
        "cache_mb": rollout.cache.num_bytes / MB,
        "memory_growth_mb": growth,
        "slopes_per_1000_chunks": {name: vars(line) for name, line in slopes.items()},
        "blocks": blocks,
        "memory": memory.tolist(),
    }
    draw(given.out / "endurance.png", memory, blocks)
    write_whole(given.out / "endurance.json", json.dumps(result, indent=1).encode())
    print(f"{given.policy}, {given.chunks} chunks, window {given.window} latent frames, {given.threads} threads")
    print("chunks  CPU ms (quartiles)     wall ms  memory MB")
    for b in blocks:
        low, high = b["cpu_quartiles_ms"]
        print(f"{b['last']:6} {b['cpu_ms']:7.2f} ({low:.2f} to {high:.2f}) {b['wall_ms']:8.2f} {b['memory_mb']:10.1f}")
    print(f"memory, MB: {slopes['memory_mb']}; {growth:+.1f} MB since the window was full")
    print(f"a chunk, CPU ms: {slopes['cpu_ms']}")
    if growth > MOST_GROWTH_MB or growth > MOST_GROWTH * full[0, 1]:
        raise SystemExit("memory grew after the window was full")


if __name__ == "__main__":
    main()
