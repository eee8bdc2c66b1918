"""Draws the pictures of docs/how_it_works.md from the code that they explain. Writes docs/pictures/*.png.

Example: python scripts/draw_diagrams.py
"""

from importlib.resources import files
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import FancyBboxPatch

from foreact.flow.path import point_on_path, shift_flow_time, velocity_of_path
from foreact.flow.solver import euler_times
from foreact.transformer.masks import ChunkLayout, packed_tokens, sees

OUT = Path(__file__).parents[1] / "docs" / "pictures"
VIDEO, ACTION, STILL, PAPER = "#0072B2", "#D55E00", "#C9CDD3", "#F4F5F7"


def main() -> None:
    """Draw all of them."""
    OUT.mkdir(exist_ok=True)
    plt.style.use(str(files("foreact") / "foreact.mplstyle"))
    for draw in (draw_loop, draw_flow, draw_mask, draw_layer, draw_grounding):
        figure = draw()
        figure.savefig(OUT / f"{draw.__name__.removeprefix('draw_')}.png", bbox_inches="tight")
        plt.close(figure)


def draw_loop() -> plt.Figure:
    """Draw the four steps of a chunk and the way back."""
    figure, axes = _canvas(9, 2.5, "Each chunk begins with what was really seen")
    steps = (
        "look:\nframes to latents",
        "imagine:\ndenoise the video",
        "decode:\ndenoise the actions",
        "execute:\n50 a second",
    )
    for number, (words, colour) in enumerate(zip(steps, (STILL, VIDEO, ACTION, STILL), strict=True)):
        _box(axes, 2.4 * number, 0.8, 2.0, 0.9, words, colour)
        if number:
            _arrow(axes, (2.4 * number - 0.4, 1.25), (2.4 * number, 1.25))
    axes.plot([8.2, 8.2, 1.0], [0.8, 0.3, 0.3], color="0.35")
    _arrow(axes, (1.0, 0.3), (1.0, 0.8))
    axes.text(4.6, 0.36, "what the cameras saw replaces what was imagined", ha="center")
    axes.set(xlim=(-0.1, 9.3), ylim=(0.1, 1.8))
    return figure


def draw_flow() -> plt.Figure:
    """Draw paths from noise to data, and where a policy's few steps lie."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(60, generator=generator)
    data = torch.where(torch.rand(60, generator=generator) < 0.5, -1.5, 1.5) + 0.15 * torch.randn(
        60, generator=generator
    )
    times = torch.linspace(0, 1, 30)
    paths = torch.stack([point_on_path(noise, data, s.expand(60)) for s in times])
    velocity = velocity_of_path(noise, data)
    assert torch.allclose(paths[-1] - paths[0], velocity, atol=1e-5), "the velocity leads from noise to data"
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=(1.4, 1), layout="constrained")
    left.plot(times, paths, color=VIDEO, alpha=0.35, linewidth=1)
    left.set(xlabel="flow time s: 0 is noise, 1 is data", ylabel="one number of a latent")
    left.set_title("Straight lines lead from noise to data")
    s = torch.linspace(0, 1, 100)
    for shift, colour in ((1.0, STILL), (2.0, VIDEO), (5.0, ACTION)):
        right.plot(s, shift_flow_time(s, shift), color=colour, label=f"shift {shift:g}")
    right.plot(np.linspace(0, 1, 6), euler_times(5, shift=2.0), "o", color=VIDEO)
    right.set(xlabel="even steps", ylabel="flow time visited")
    right.set_title("A shift spends steps near noise")
    right.legend()
    return figure


def draw_mask() -> plt.Figure:
    """Draw the training mask of a sequence of three chunks, one token a latent frame and stream."""
    layout = ChunkLayout(num_frames=5, frames_per_chunk=2, window=64)
    tokens = packed_tokens(layout, 1, 1)
    order = torch.argsort(tokens.frame * 4 + (~tokens.clean).long() * 2 + tokens.action.long())
    tokens = tokens.at(order)
    visible = sees(tokens.at((slice(None), None)), tokens.at((None, slice(None))), layout)
    shade = visible * (1 + tokens.action[None].long())
    names = [
        f"{'a' if action else 'z'}{frame}{'' if clean else '*'}"
        for frame, action, clean in zip(
            tokens.frame.tolist(), tokens.action.tolist(), tokens.clean.tolist(), strict=True
        )
    ]
    figure, axes = plt.subplots(figsize=(7.2, 6.6), layout="constrained")
    axes.imshow(shade, cmap=ListedColormap([PAPER, VIDEO, ACTION]), vmin=0, vmax=2)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(np.arange(-0.5, len(names)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(names)), minor=True)
    axes.grid(False)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="is seen (blue: video, orange: actions)", ylabel="sees")
    axes.set_title("Each token sees what it will see at inference\nz: latent frame, a: its actions, *: noisy copy")
    return figure


def draw_layer() -> plt.Figure:
    """Draw one layer of both streams."""
    figure, axes = _canvas(7.5, 4.2, "The streams have their own weights and share one attention")
    for left, colour, width, words in ((0.0, VIDEO, 2.9, "video tokens"), (3.6, ACTION, 1.9, "action tokens")):
        _box(axes, left, 0.0, width, 0.5, words, STILL)
        _box(axes, left, 0.9, width, 0.5, "queries, keys, values", colour)
        _box(axes, left, 2.7, width, 0.5, "text, feed-forward", colour)
        _box(axes, left, 3.6, width, 0.5, words, STILL)
        for low, high in ((0.5, 0.9), (1.4, 1.8), (2.3, 2.7), (3.2, 3.6)):
            _arrow(axes, (left + width / 2, low), (left + width / 2, high))
    _box(axes, 0.0, 1.8, 5.5, 0.5, "one attention over both, under the mask; history comes from the KV cache", "white")
    axes.set(xlim=(-0.1, 5.6), ylim=(-0.1, 4.2))
    return figure


def draw_grounding() -> plt.Figure:
    """Draw what a robot does while a chunk is computed, synchronously and asynchronously."""
    figure, axes = plt.subplots(figsize=(9, 2.8), layout="constrained")
    compute, execute, num_chunks = 0.45, 1.28, 3
    rows = (("synchronous", False), ("asynchronous:\nnaive, grounded", True))
    for row, (_, asynchronous) in enumerate(rows):
        start = compute
        axes.barh(row + 0.17, compute, left=0, height=0.28, color=VIDEO)
        axes.barh(row - 0.17, compute, left=0, height=0.28, color=STILL)
        for _ in range(num_chunks):
            axes.barh(row - 0.17, execute - 0.02, left=start, height=0.28, color=ACTION)
            begun = start + execute - compute if asynchronous else start + execute
            axes.barh(row + 0.17, compute, left=begun, height=0.28, color=VIDEO)
            if not asynchronous:
                axes.barh(row - 0.17, compute, left=start + execute, height=0.28, color=STILL)
            start += execute + (0 if asynchronous else compute)
    axes.set_yticks(range(2), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.set(xlabel="seconds", xlim=(0, 6))
    axes.grid(axis="y", visible=False)
    labels = ((VIDEO, "computes a chunk"), (ACTION, "executes it"), (STILL, "stands still"))
    axes.legend(
        [plt.Rectangle((0, 0), 1, 1, color=colour) for colour, _ in labels],
        [w for _, w in labels],
        ncol=3,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.25),
    )
    axes.set_title("An asynchronous robot waits for its first chunk alone")
    return figure


def _canvas(width: float, height: float, title: str) -> tuple[plt.Figure, Axes]:
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set_axis_off()
    axes.set_title(title)
    return figure, axes


def _box(axes: Axes, x: float, y: float, width: float, height: float, words: str, colour: str) -> None:
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.08", facecolor=colour, edgecolor="0.3"
    )
    axes.add_patch(shape)
    ink = "white" if colour in (VIDEO, ACTION) else "black"
    axes.text(x + width / 2, y + height / 2, words, ha="center", va="center", color=ink)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "0.35"})


if __name__ == "__main__":
    main()
