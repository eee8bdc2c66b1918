"""The video VAE on a CPU: diffusers' layers as they are, and with the kernels of `codecs/cpu_kernels.py`, turn about.

Processor time of encoding the 16 frames of a chunk in a stream, and of decoding them again, medians, with the largest
difference of the results.

    python benchmarks/video_vae.py [--policy tiny] [--turns 25]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import foreact
from foreact.codecs import cpu_kernels

NUM_FRAMES = 16


def timed(run: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Return what a function returns, and the processor milliseconds that it took."""
    begun = time.process_time()
    result = run()
    return result, 1e3 * (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--turns", type=int, default=25)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    policy = foreact.load(settings.policy)
    vae, layout = policy.networks.vae, policy.embodiment.layout
    generator = torch.Generator().manual_seed(0)
    first, clip = (
        torch.rand(1, 3, n, layout.height, layout.width, generator=generator) * 2 - 1 for n in (1, NUM_FRAMES)
    )
    may_hurry = cpu_kernels._may_hurry
    ways = {"diffusers": lambda _: False, "ours": may_hurry}
    spent: dict[tuple[str, str], list[float]] = {}
    results: dict[tuple[str, str], Tensor] = {}
    for _ in range(settings.turns):
        for way, chooses in ways.items():
            cpu_kernels._may_hurry = chooses
            stream = vae.start_stream()
            stream.encode(first)
            results[way, "encode"], took = timed(lambda stream=stream: stream.encode(clip))
            spent.setdefault((way, "encode"), []).append(took)
            latents = results["diffusers", "encode"]
            results[way, "decode"], took = timed(lambda latents=latents: vae.decode(latents))
            spent.setdefault((way, "decode"), []).append(took)
    for part in ("encode", "decode"):
        plain, fast = (statistics.median(spent[way, part]) for way in ways)
        difference = (results["diffusers", part] - results["ours", part]).abs().max().item()
        print(
            f"{part}: diffusers {plain:.1f} ms, ours {fast:.1f} ms, x {plain / fast:.2f}; difference {difference:.1e}"
        )


if __name__ == "__main__":
    main()
