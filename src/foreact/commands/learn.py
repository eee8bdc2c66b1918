"""`foreact train-vae`, `encode`, `train` and `calibrate`."""

import json
from collections.abc import Iterable
from pathlib import Path

from foreact.codecs.video_vae import VideoVAE
from foreact.commands.progress import console, progress_bar, use_device
from foreact.data.clips import DatasetClips
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.data.sequences import load_sequences
from foreact.errors import ConfigurationError
from foreact.files import write_whole
from foreact.policy.checkpoint import CONFIG_FILE, load_policy
from foreact.policy.placement import Placement
from foreact.settings import read_json
from foreact.training.run import POLICY_FOLDER, Recipe
from foreact.training.run import train as train_policy
from foreact.training.validation import open_loop_error
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


def calibrate(folder: Path, data: Iterable[Path], held_out: int, seed: int, device: str, threads: int | None) -> None:
    """See `foreact.cli.calibrate`."""
    policy = load_policy(folder, placement=Placement(device=str(use_device(device, threads))))
    cached = [(EpisodeDataset(root), root) for root in data]
    thresholds = []
    with progress_bar() as bar:
        for dataset, root in cached:
            shown = bar.add_task(f"imagining {root}", total=1, figures="")
            cache = LatentCache(dataset, policy.networks.vae, policy.embodiment)
            sequences = load_sequences(dataset, cache, policy.codec)[-held_out:]
            thresholds.append(open_loop_error(policy, sequences, seed=seed).disagreement)
            bar.update(shown, completed=1)
    if None in thresholds:
        raise ConfigurationError("policy to be calibrated", got="one that imagines nothing", allowed="one that does")
    threshold = max(thresholds)
    told = read_json(folder / CONFIG_FILE)
    told["inference"]["disagreement_threshold"] = threshold
    write_whole(folder / CONFIG_FILE, (json.dumps(told, indent=1) + "\n").encode())
    console.print(f"Where imagination is off by more than [bold]{threshold:.3f}[/], the robot will stop and look.")
