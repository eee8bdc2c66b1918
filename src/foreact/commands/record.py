"""`foreact collect`."""

from pathlib import Path

from foreact.commands.progress import console, progress_bar
from foreact.embodiments import load_embodiment
from foreact.evaluation.demonstrations import CollectionConfig
from foreact.evaluation.demonstrations import collect as collect_episodes


def collect(task: str, out: Path, episodes: int, seed: int, image_size: int, noise_scale_rad: float) -> None:
    """See `foreact.cli.collect`."""
    config = CollectionConfig(
        task=task, num_episodes=episodes, seed=seed, image_size=image_size, noise_scale_rad=noise_scale_rad
    )
    with progress_bar() as bar:
        shown = bar.add_task(f"recording {task}", total=episodes, figures="")
        for count in collect_episodes(config, out, load_embodiment("aloha")):
            bar.update(shown, completed=count)
        bar.update(shown, completed=episodes)
    console.print(f"{episodes} episodes of {task} are in [bold]{out}[/] (LeRobot v3.0).")
