"""How `foreact train` shows where it is: step, time left and loss first; held-out figures on their own lines."""

import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from foreact.training.run import Progress as Step

LINES = 40
"""Lines that a whole training writes where there is no terminal, next to those of the held-out figures."""


def show(steps: Iterable[Step], console: Console, flops_per_token: float = 0.0, peak_flops_per_s: float = 0.0) -> None:
    """Go through a training, showing a bar on a terminal, and plain lines anywhere else.

    Args:
        steps: What the training yields.
        console: Where to.
        flops_per_token: Operations of a training step by tokens.
        peak_flops_per_s: Of all devices, by their data sheets; 0 where they are not known.
    """
    begun, first, judged = time.monotonic(), None, ""
    bar = Progress(
        TextColumn("step {task.completed:.0f} of {task.total:.0f}"),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[loss]}"),
        BarColumn(bar_width=None),
        console=console,
        expand=True,
        disable=not console.is_terminal,
    )
    with bar:
        shown = bar.add_task("training", total=1, left="", loss="")
        for now in steps:
            for note in now.notes:
                console.print(note, markup=False, soft_wrap=True)
            first = now.step if first is None else first
            left = time_left(now, time.monotonic() - begun, now.step - first)
            bar.update(shown, completed=now.step, total=now.num_steps, left=left, loss=losses(now))
            if not console.is_terminal and is_due(now, first):
                said = f"step {now.step} of {now.num_steps}, {left}, {losses(now)}"
                share = now.tokens_per_s * flops_per_token / peak_flops_per_s if peak_flops_per_s else None
                console.print(said + throughput(now, share), markup=False, soft_wrap=True)
            if now.judged != judged:
                judged = now.judged
                console.print(f"step {now.step}, held-out episodes: {judged}", markup=False, soft_wrap=True)


def is_due(now: Step, first: int) -> bool:
    """Return whether a step gets a line of its own: the first, the last, and some between them."""
    return now.step in (first, now.num_steps) or now.step % max(1, now.num_steps // LINES) == 0


def time_left(now: Step, gone_s: float, num_done: int) -> str:
    """Return in words how long the rest will take at the pace so far; nothing is known after the first step.

    Args:
        now: The last step.
        gone_s: Seconds since the first step of this call was done.
        num_done: Steps done in that time.
    """
    if num_done < 1:
        return "time left unknown"
    seconds = gone_s / num_done * (now.num_steps - now.step)
    if seconds < 90:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h left"


def losses(now: Step) -> str:
    """Return the loss and its parts, of which forward dynamics is there only if it is trained."""
    parts = {"video": now.dynamics, "actions": now.inverse, "forward": now.forward_dynamics}
    listed = ", ".join(f"{name} {value:.3f}" for name, value in parts.items() if value)
    return f"loss {now.loss:.3f} ({listed})"


def throughput(now: Step, share: float | None) -> str:
    """Return tokens a second, the share of the devices' operations, and of time spent on batches, as a line goes on.

    Args:
        now: The step; nothing is said of one that was not timed.
        share: Operations a second, of those in the data sheet; None where the device is not known.
    """
    if not now.tokens_per_s:
        return ""
    used = "" if share is None else f", {100 * share:.0f} % of peak"
    return f", {now.tokens_per_s:,.0f} tokens/s{used}, {100 * now.data_share:.0f} % making batches"
