"""`foreact train-vae`, `encode` and `train`."""

from collections.abc import Iterable
from pathlib import Path

from foreact.codecs.video_vae import VideoVAE
from foreact.commands.progress import console, progress_bar, use_device
from foreact.data.clips import DatasetClips
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.training.run import POLICY_FOLDER, Recipe
from foreact.training.run import train as train_policy
from foreact.training.video_vae import train_video_vae
from foreact.training.video_vae_config import VideoVAETrainingConfig


def train_vae(
    recipe: Recipe,
    data: Iterable[Path],
    out: Path,
    initial: Path | None,
    settings: VideoVAETrainingConfig,
    device: str,
    threads: int | None,
) -> None:
    """See `foreact.cli.train_vae`."""
    chosen = use_device(device, threads)
    clips = DatasetClips([EpisodeDataset(root) for root in data], recipe.robot())
    with progress_bar() as bar:
        shown = bar.add_task("reading pictures", total=clips.num_episodes, figures="")
        for index in clips.load():
            bar.update(shown, completed=index + 1)
    start = None if initial is None else VideoVAE.from_pretrained(initial)
    train_video_vae(settings, clips, out, device=chosen, initial=start)
    console.print(f"The video VAE is in [bold]{out / 'vae'}[/]; its held-out PSNR in {out / 'summary.json'}.")


def encode(recipe: Recipe, data: Iterable[Path], vae: Path, device: str, threads: int | None) -> None:
    """See `foreact.cli.encode`."""
    codec = VideoVAE.from_pretrained(vae).to(use_device(device, threads))
    embodiment = recipe.robot()
    with progress_bar() as bar:
        for root in data:
            dataset = EpisodeDataset(root)
            shown = bar.add_task(f"encoding {root}", total=dataset.num_episodes, figures="")
            for index in LatentCache(dataset, codec, embodiment).encode_missing():
                bar.update(shown, completed=index + 1)
            bar.update(shown, completed=dataset.num_episodes)
    console.print("Latents are kept beside each dataset, under [bold]latents/[/].")


def train(
    recipe: Recipe,
    data: Iterable[Path],
    vae: Path,
    out: Path,
    initial: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """See `foreact.cli.train_command`."""
    chosen = use_device(device, threads)
    datasets = [EpisodeDataset(root) for root in data]
    steps = train_policy(recipe, datasets, VideoVAE.from_pretrained(vae), out, initial=initial, device=chosen)
    with progress_bar() as bar:
        shown = bar.add_task("training", total=recipe.optimization.num_steps, figures="")
        for now in steps:
            losses = f"video {now.dynamics:.3f}, actions {now.inverse:.3f}"
            if recipe.corruption.forward_dynamics_probability:
                losses += f", forward dynamics {now.forward_dynamics:.3f}"
            figures = f"loss {now.loss:.3f} ({losses})  {now.judged}"
            bar.update(shown, completed=now.step, figures=figures)
    console.print(f"The policy is in [bold]{out / POLICY_FOLDER}[/]: foreact.load({str(out / POLICY_FOLDER)!r}).")
