"""Progress bars and threads, alike for all commands."""

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from foreact.errors import ConfigurationError

console = Console(highlight=False)


def progress_bar(shown_on: Console = console) -> Progress:
    """Return a bar that shows what is done, of how much, figures, time gone and time left."""
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


def use_device(device: str, threads: int | None) -> torch.device:
    """Return the device, and set the number of CPU threads.

    Raises:
        ConfigurationError: No such device here.
    """
    if threads is not None:
        if threads < 1:
            raise ConfigurationError("threads", got=threads, allowed="1 or more")
        torch.set_num_threads(threads)
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ConfigurationError("device", got=device, allowed="cpu, cuda, cuda:0 ...") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            "device", got=device, allowed="cpu", cure="no CUDA device is visible; install a CUDA build of torch"
        )
    return chosen
