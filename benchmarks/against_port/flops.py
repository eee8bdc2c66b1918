"""Counts the operations of both sides with torch's own counter, against a formula for the port's.

    PYTHONPATH=src python benchmarks/against_port/flops.py [--head-dim 128]

Prints for each counts and history: the port's chunk counted and by formula, ours, their ratio.
"""

import argparse
import time

import torch
from ours import Ours
from port import Port
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from workload import COUNTS, TEXT_LENGTH, Counts, Size, draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head-dim", type=int, choices=(32, 128), default=128)
    given = parser.parse_args()
    size = Size(num_heads=256 // given.head_dim, head_dim=given.head_dim)
    print("| counts | history | port counted | port by formula | ours | ratio |")
    print("|---|---|---|---|---|---|")
    for counts in COUNTS.values():
        inputs = draw(size, counts, seed=0)
        port = Port(size, counts, inputs, time.perf_counter, seed=0)
        ours = Ours(size, counts, inputs, port.weights, time.perf_counter)
        for history, num_chunks in counts.histories.items():
            counted = [_chunk(side, counts, num_chunks) for side in (port, ours)]
            formula = port_chunk(size, counts, num_chunks)
            ratio = f"{counted[0] / counted[1]:.3f}"
            print(f"| {counts.name} | {history} | {counted[0]} | {formula} | {counted[1]} | {ratio} |")


def _chunk(side: Port | Ours, counts: Counts, num_chunks: int) -> int:
    """Return what a chunk and its observation cost by the whole schedule, from short ones: all steps cost the same."""
    side.observe(num_chunks)
    one, video, action = (_turn(side, *steps) for steps in ((1, 1), (2, 1), (1, 2)))
    return one + (counts.video_steps - 1) * (video - one) + (counts.action_steps - 1) * (action - one)


def _turn(side: Port | Ours, video_steps: int, action_steps: int) -> int:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        side.turn(video_steps, action_steps)
    return counter.get_total_flops()


def port_chunk(size: Size, counts: Counts, num_chunks: int) -> int:
    """Return the operations of the port's chunk: `steps + 1` passes of each stream, then one of each to append.

    Every pass runs both rows, embeds all the text's tokens and makes their keys and values anew in every layer.
    """
    video, action = counts.frames * counts.video_tokens, counts.frames * counts.actions
    past = num_chunks * (video + action)

    def one(tokens: int, seen: int, features: int) -> int:
        width = size.width
        text = TEXT_LENGTH * (size.text_dim * width + width**2 + size.num_layers * 2 * width**2)
        clock = tokens * (256 * width + 7 * width**2)  # one for every token
        layer = width * (6 * width + 2 * size.ffn_dim) + 2 * width * (seen + TEXT_LENGTH)
        return 2 * 2 * (text + clock + tokens * (2 * features * width + size.num_layers * layer))

    patch = 4 * 48
    video_pass, action_pass = one(video, past + video, patch), one(action, past + video + action, 30)
    return (
        (counts.video_steps + 1) * video_pass
        + (counts.action_steps + 1) * action_pass
        + one(video, past + video, patch)
        + one(action, past + video + action, 30)
    )


if __name__ == "__main__":
    main()
