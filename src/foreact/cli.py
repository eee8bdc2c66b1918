"""The command line. Every command says what it did and where the result lies; its `--help` gives an example."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from foreact.errors import ForeactError
from foreact.recipes import get_recipe
from foreact.training.run import Recipe
from foreact.training.video_vae_config import VideoVAETrainingConfig

DESCRIPTION = """foreact: imagine, then act.

The whole line, in order: collect > train-vae > encode > train > evaluate. `foreact demo` shows the shipped policy.
"""
INTERRUPTED = 130
VAE_SETTINGS = VideoVAETrainingConfig()
console = Console(stderr=True, highlight=False)


def collect(
    task: str,
    out: Path,
    episodes: int = 50,
    seed: int = 0,
    image_size: int = 128,
    noise_scale_rad: float = 0.02,
) -> None:
    """Record an expert's successful episodes as a LeRobot v3.0 dataset.

    Repeat the command after an interruption: it goes on where it stopped.

    Example: foreact collect --task lift_cube --episodes 50 --out data/lift_cube

    Args:
        task: reach_cube, lift_cube, transfer_cube, remember_bin or remember_bin_two.
        out: Folder of the dataset.
        episodes: Episodes that the dataset shall hold.
        seed: First seed tried; failures are skipped.
        image_size: Height and width of the pictures, pixels.
        noise_scale_rad: Disturbance of what is executed, so that recoveries are recorded; labels stay clean.
    """
    from foreact.commands import record

    record.collect(task, out, episodes, seed, image_size, noise_scale_rad)


def train_vae(
    data: tuple[Path, ...],
    out: Path,
    recipe: str = "tiny",
    initial: Path | None = None,
    settings: Annotated[VideoVAETrainingConfig, tyro.conf.arg(name="")] = VAE_SETTINGS,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Train the small video VAE on the pictures of some datasets; resumes by itself.

    Example: foreact train-vae --data data/reach_cube data/lift_cube --out runs/vae

    Args:
        data: LeRobot datasets.
        out: Gets vae/ (diffusers layout), summary.json with the held-out PSNR, and the state to resume from.
        recipe: Says which cameras are seen, at what size and rate.
        initial: Folder of a video VAE of the same shape to start from.
        settings: The network and its training, setting by setting.
        device: cpu or cuda.
        threads: CPU threads; all by default.
    """
    from foreact.commands import learn

    learn.train_vae(get_recipe(recipe), data, out, initial, settings, device, threads)


def encode(
    data: tuple[Path, ...], vae: Path, recipe: str = "tiny", device: str = "cpu", threads: int | None = None
) -> None:
    """Encode datasets into latents once, so that training never touches a picture; resumes by itself.

    Example: foreact encode --data data/lift_cube --vae runs/vae/vae

    Args:
        data: LeRobot datasets; the latents are kept inside each, under latents/.
        vae: Folder of the video VAE, diffusers layout.
        recipe: Says which cameras are seen, at what size and rate.
        device: cpu or cuda.
        threads: CPU threads; all by default.
    """
    from foreact.commands import learn

    learn.encode(get_recipe(recipe), data, vae, device, threads)


def train_command(default: Recipe) -> Callable[..., None]:
    """Return the train command whose settings default to a recipe's."""

    def train(
        data: tuple[Path, ...],
        vae: Path,
        out: Path,
        recipe: str = "tiny",
        settings: Annotated[Recipe, tyro.conf.arg(name="")] = default,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        """Train a policy on encoded datasets; resumes exactly where an interrupted run stopped.

        Every setting of the recipe can be changed, for example --optimization.num-steps 500.

        Example: foreact train --recipe tiny --data data/lift_cube --vae runs/vae/vae --out runs/tiny

        Args:
            data: LeRobot datasets, encoded by `foreact encode`.
            vae: The video VAE they were encoded with.
            out: Gets policy/ (what foreact.load takes), recipe.json, log.jsonl, tensorboard/, and its state.
            recipe: tiny or tiny-reactive.
            settings: The recipe, setting by setting.
            device: cpu or cuda.
            threads: CPU threads; all by default.
        """
        from foreact.commands import learn

        learn.train(settings, data, vae, out, device, threads)

    return train


def evaluate(
    task: str,
    out: Path,
    policy: str = "tiny",
    episodes: int = 50,
    seed: int = 1_000_000,
    video_steps: int | None = None,
    s_stop: float | None = None,
    action_steps: int | None = None,
    video_guidance: float | None = None,
    window: int | None = None,
    latent_frames_per_chunk: int | None = None,
    execution_horizon: int | None = None,
    open_loop: bool = False,
    videos: int = 0,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Measure a policy: success rate with a 95 % Wilson interval, progress, imagination error, time per stage.

    Repeat the command after an interruption: finished episodes are kept.

    Example: foreact evaluate --policy tiny --task reach_cube --episodes 50 --out outputs/reach

    Args:
        task: reach_cube, lift_cube, transfer_cube, remember_bin or remember_bin_two.
        out: Gets summary.json, episodes.jsonl and the videos.
        policy: Name of a shipped policy, or a folder.
        episodes: Number of episodes.
        seed: Of the first; demonstrations use seeds far below.
        video_steps: Denoising steps of the video; the policy's own by default, as all that follow.
        s_stop: Flow time at which imagining stops, 0 to 1.
        action_steps: Denoising steps of the actions.
        video_guidance: Guidance scale of the video.
        window: Latent frames of history.
        latent_frames_per_chunk: K.
        execution_horizon: Actions of a chunk executed before the next is predicted; all by default.
        open_loop: Never show the policy what really happened, for comparison.
        videos: For how many episodes to write an mp4 of what was seen beside what was imagined.
        device: cpu or cuda.
        threads: CPU threads; all by default.
    """
    from foreact.commands import run

    settings = {
        "video_steps": video_steps,
        "s_stop": s_stop,
        "action_steps": action_steps,
        "video_guidance": video_guidance,
        "window": window,
        "latent_frames_per_chunk": latent_frames_per_chunk,
    }
    changes = {name: value for name, value in settings.items() if value is not None}
    run.evaluate(policy, task, out, episodes, seed, changes, execution_horizon, not open_loop, videos, device, threads)


def demo(
    policy: str = "tiny",
    task: str = "lift_cube",
    episodes: int = 3,
    seed: int = 1_000_000,
    out: Path = Path("outputs/demo"),
    threads: int | None = None,
) -> None:
    """Show the policy at work: a few episodes in simulation, what it imagined beside what happened.

    Example: foreact demo --task lift_cube --episodes 3

    Args:
        policy: Name of a shipped policy, or a folder.
        task: reach_cube, lift_cube, transfer_cube, remember_bin or remember_bin_two.
        episodes: Number of episodes.
        seed: Of the first.
        out: Gets the videos and figures.
        threads: CPU threads; all by default.
    """
    from foreact.commands import run

    run.demo(policy, task, episodes, seed, out, threads)


def main(arguments: list[str] | None = None) -> None:
    """Run one command; exit with 2 on an error of the user's, with 130 on Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        commands = {
            "collect": collect,
            "train-vae": train_vae,
            "encode": encode,
            "train": train_command(get_recipe(_value_of("--recipe", given) or "tiny")),
            "evaluate": evaluate,
            "demo": demo,
        }
        tyro.extras.subcommand_cli_from_dict(
            commands, args=given, prog="foreact", description=DESCRIPTION, sort_subcommands=False
        )
    except ForeactError as error:
        console.print(f"[bold red]error:[/] {error}")
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        console.print("[yellow]stopped.[/] Nothing finished is lost: repeat the command to go on.")
        raise SystemExit(INTERRUPTED) from None


def _value_of(flag: str, arguments: list[str]) -> str | None:
    for index, argument in enumerate(arguments):
        if argument == flag and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith(flag + "="):
            return argument.split("=", 1)[1]
    return None


if __name__ == "__main__":
    main()
