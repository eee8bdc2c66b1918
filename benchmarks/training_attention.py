"""A training step's attention without a mask against the same with a dense one: equal gradients, time in pairs.

The whole network runs forward and backward on one packed sequence; only its attention differs.

    python benchmarks/training_attention.py [--tokens 2000 4000] [--head-dim 32] [--pairs 5] [--threads 1] [--json FILE]

Exits with 1 if outputs or gradients differ by more than `TOLERANCE`, relative to their norm.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from foreact.transformer.attention import ChunkedAttention, JointAttention, MaskedAttention
from foreact.transformer.masks import ChunkLayout, training_mask
from foreact.transformer.model import TransformerConfig, WorldActionModel
from foreact.transformer.tokens import StreamInput

TOLERANCE = 1e-4
TARGETS = {2000: 1.5, 4000: 2.0}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
CHUNK = 4
WORDS = 16
FORMS: dict[str, type[MaskedAttention] | type[ChunkedAttention]] = {
    "dense": MaskedAttention,
    "chunked": ChunkedAttention,
}


class Step:
    """One packed sequence of about so many tokens, and the network it is trained on."""

    def __init__(self, num_tokens: int, *, window: int, head_dim: int):
        """Choose the number of latent frames, and draw weights and inputs."""
        torch.manual_seed(0)
        self.config = TransformerConfig(
            canvas=(8, 16),
            actions_per_latent_frame=4,
            video_width=256,
            action_width=256,
            num_layers=6,
            num_heads=256 // head_dim,
            video_ffn_dim=1024,
            action_ffn_dim=1024,
            text_dim=256,
        )
        per_frame = self.config.video_tokens + self.config.actions_per_latent_frame
        chunks = round((num_tokens / per_frame + 1) / 2 / CHUNK)
        self.layout = ChunkLayout(num_frames=chunks * CHUNK + 1, frames_per_chunk=CHUNK, window=window)
        self.model = WorldActionModel(self.config)
        self._text = torch.randn(1, WORDS, self.config.text_dim)
        frames = self.layout.action_frames
        self._video = self._input(self.config.video_tokens, self.config.patch_features, self.model.video_rotary(frames))
        rotary = self.model.action_rotary(frames)
        self._action = self._input(self.config.actions_per_latent_frame, self.config.action_channels, rotary)

    @property
    def num_tokens(self) -> int:
        """Packed tokens, noisy and clean."""
        return sum(stream.values.shape[1] * stream.values.shape[2] for stream in (self._video, self._action))

    @property
    def live_share(self) -> float:
        """Share of the mask's pairs that are seen."""
        mask = training_mask(self.layout, self.config.video_tokens, self.config.actions_per_latent_frame)
        return float(mask.float().mean())

    def run(self, attention: JointAttention) -> dict[str, Tensor]:
        """Return outputs and gradients of one forward and backward."""
        self.model.zero_grad()
        text = self.model.read_text(self._text, torch.tensor([WORDS]))
        video, action = self.model(self._video, self._action, text, attention)
        assert video is not None and action is not None
        (video.square().mean() + action.square().mean()).backward()
        gradients = {name: weight.grad for name, weight in self.model.named_parameters() if weight.grad is not None}
        return {"video": video.detach(), "action": action.detach()} | {n: g.clone() for n, g in gradients.items()}

    def _input(self, tokens: int, features: int, rotary) -> StreamInput:
        frames = len(self.layout.action_frames)
        return StreamInput(
            values=torch.randn(1, frames, tokens, features), flow_time=torch.rand(1, frames), rotary=rotary
        )


def measure(num_tokens: int, *, window: int, head_dim: int, pairs: int, clock: str) -> dict:
    """Return what one number of tokens gives; the first run of each form warms up and is compared."""
    step, now = Step(num_tokens, window=window, head_dim=head_dim), CLOCKS[clock]
    results = {name: step.run(form(step.layout)) for name, form in FORMS.items()}
    spent: dict[str, list[float]] = {name: [] for name in FORMS}
    for number in range(pairs):
        for name in sorted(FORMS, reverse=bool(number % 2)):
            began = now()
            step.run(FORMS[name](step.layout))
            spent[name].append(1e3 * (now() - began))
    ratios = [dense / chunked for dense, chunked in zip(spent["dense"], spent["chunked"], strict=True)]
    return {
        "tokens": step.num_tokens,
        "live_share": step.live_share,
        **{f"{name}_ms": statistics.median(values) for name, values in spent.items()},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "target": TARGETS.get(num_tokens),
        "difference": _worst_difference(results["dense"], results["chunked"]),
    }


def _worst_difference(dense: dict[str, Tensor], chunked: dict[str, Tensor]) -> float:
    """Return the largest relative difference of any output or gradient; of a gradient, to the norm of all of them."""
    scale = torch.stack([g.norm() for name, g in dense.items() if name not in ("video", "action")]).norm()
    outputs = [(chunked[n] - dense[n]).norm() / dense[n].norm() for n in ("video", "action")]
    gradients = [(chunked[n] - g).norm() / scale for n, g in dense.items() if n not in ("video", "action")]
    return float(torch.stack(outputs + gradients).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", nargs="+", type=int, default=list(TARGETS))
    parser.add_argument("--window", type=int, default=64, help="latent frames of history that a chunk sees")
    parser.add_argument("--head-dim", type=int, choices=(32, 64, 128), default=32, help="width 256 in 8, 4 or 2 heads")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of all threads; for busy machines")
    parser.add_argument("--json", type=Path, help="write figures there")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = []
    heads = ("tokens", "live pairs", "dense mask ms", "chunk by chunk ms", "ratio (lowest to highest)", "target")
    print(f"| {' | '.join(heads)} | difference |")
    print("|---" * (len(heads) + 1) + "|")
    for num_tokens in given.tokens:
        sizes = {"window": given.window, "head_dim": given.head_dim}
        rows.append(row := measure(num_tokens, **sizes, pairs=given.pairs, clock=given.clock))
        times = f"{row['dense_ms']:.0f} | {row['chunked_ms']:.0f}"
        spread = f"{row['ratio']:.2f} ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})"
        cells = f"{row['tokens']} | {row['live_share']:.0%} | {times} | {spread} | {row['target']}"
        print(f"| {cells} | {row['difference']:.0e} |", flush=True)
    if given.json:
        about = {"torch": torch.__version__, "threads": given.threads, "head_dim": given.head_dim, "clock": given.clock}
        given.json.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")
    if any(row["difference"] > TOLERANCE for row in rows):
        sys.exit(f"an output or gradient differs by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
