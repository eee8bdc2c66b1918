"""Progress bars and threads, alike for all commands."""

import os
import time
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from foreact.errors import ConfigurationError

console = Console(highlight=False)
LINE_EVERY_S = 10.0
"""Least time between two lines about one task, where there is no terminal."""


def plain(text: object) -> str:
    """Return text that is printed as it is: names from files may hold what looks like rich's markup."""
    return escape(str(text))


def bold(text: object) -> str:
    """Return markup that prints a text as it is, in bold."""
    return f"[bold]{plain(text)}[/]"


def progress_bar(shown_on: Console = console, *, lines: bool = True) -> Progress:
    """Return a bar that shows what is done, of how much, figures, time gone and time left.

    Where there is no terminal, in a log file, it is a line now and then instead (unless `lines` is false).
    """
    if lines and not shown_on.is_terminal:
        return ProgressLines(shown_on)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=shown_on,
    )


class ProgressLines(Progress):
    """What a progress bar shows, as lines: the first update of a task, its last, and one every few seconds."""

    def __init__(self, shown_on: Console, every_s: float = LINE_EVERY_S):
        """Show nothing yet.

        Args:
            shown_on: Where to print.
            every_s: Least time between two lines of a task, seconds.
        """
        super().__init__(console=shown_on, disable=True)
        self._every_s = every_s
        self._shown_s: dict[TaskID, float] = {}

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task as a bar does, and print how far it is, unless the last line about it is fresh."""
        super().update(task_id, **changes)
        task, now_s = self._tasks[task_id], time.monotonic()
        fresh = task_id in self._shown_s and now_s - self._shown_s[task_id] < self._every_s
        if fresh and not task.finished:
            return
        self._shown_s[task_id] = now_s
        total = "" if task.total is None else f" of {task.total:g}"
        line = f"{task.description}: {task.completed:g}{total}  {task.fields.get('figures', '')}"
        self.console.print(line.rstrip(), markup=False, soft_wrap=True)


def available_devices() -> list[str]:
    """Return the devices that this machine and this build of torch have."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found += ["mps", "mps:0"]
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        found += ["xpu", *(f"xpu:{n}" for n in range(torch.xpu.device_count()))]
    return found


def use_device(device: str, threads: int | None) -> torch.device:
    """Return the device, and set the number of CPU threads.

    Raises:
        ConfigurationError: No such device here.
    """
    if threads is not None:
        if threads < 1:
            raise ConfigurationError("threads", got=threads, allowed="1 or more")
        torch.set_num_threads(threads)
    if device == "cuda" and (local := os.environ.get("LOCAL_RANK")):
        device = f"cuda:{local}"  # torchrun started this process as one of several on the machine
    if device not in available_devices():
        cure = "no CUDA device is visible; install a CUDA build of torch" if device.startswith("cuda") else None
        raise ConfigurationError("device", got=device, allowed=", ".join(available_devices()), cure=cure)
    return torch.device(device)
