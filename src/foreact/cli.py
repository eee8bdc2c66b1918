"""The command line. Every command says what it did and where the result lies; its `--help` gives an example."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from foreact.errors import ConfigurationError, ForeactError
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


def calibrate(
    policy: Path,
    data: tuple[Path, ...],
    held_out: int = 5,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Measure on held-out episodes how far imagination may be from what is seen before a robot should stop and look.

    The policy's folder is told the threshold, and asynchronous controllers keep to it. Training does this by itself.

    Example: foreact calibrate --policy runs/tiny/policy --data data/lift_cube data/reach_cube

    Args:
        policy: Folder of a policy; its config.json is changed.
        data: LeRobot datasets, encoded by `foreact encode`.
        held_out: Last episodes of each that are measured.
        seed: Of the noise.
        device: cpu or cuda.
        threads: CPU threads; all by default.
    """
    from foreact.commands import learn

    learn.calibrate(policy, data, held_out, seed, device, threads)


def train_command(default: Recipe) -> Callable[..., None]:
    """Return the train command whose settings default to a recipe's."""

    def train(
        data: tuple[Path, ...],
        vae: Path,
        out: Path,
        recipe: str = "tiny",
        initial: Path | None = None,
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
            recipe: tiny, tiny-grounded, tiny-reactive, small, wan5b or wan5b-shared.
            initial: Weights to begin with: a policy to go on from, or what `foreact init` made, which the wan5b recipes
                need.
            settings: The recipe, setting by setting.
            device: cpu or cuda.
            threads: CPU threads; all by default.
        """
        from foreact.commands import learn

        learn.train(settings, data, vae, out, initial, device, threads)

    return train


def evaluate(
    task: str,
    out: Path,
    policy: str = "tiny",
    episodes: int = 50,
    seed: int = 1_000_000,
    schedule: str | None = None,
    video_steps: int | None = None,
    s_stop: float | None = None,
    action_steps: int | None = None,
    video_guidance: float | None = None,
    window: int | None = None,
    latent_frames_per_chunk: int | None = None,
    execution_horizon: int | None = None,
    controller: Literal["synchronous", "naive", "grounded", "prefixed", "open_loop"] = "synchronous",
    latency_ms: float = 0.0,
    videos: int = 0,
    compile: bool = False,
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
        schedule: Steps by name: exact, fast or turbo; the policy's own by default. What follows wins over it.
        video_steps: Denoising steps of the video; the policy's own by default, as all that follow.
        s_stop: Flow time at which imagining stops, 0 to 1.
        action_steps: Denoising steps of the actions.
        video_guidance: Guidance scale of the video; 1 is none, and halves its cost.
        window: Latent frames of history.
        latent_frames_per_chunk: K.
        execution_horizon: Actions of a chunk executed before the next is predicted; all by default.
        controller: What the robot does while a chunk is computed. synchronous: it stands still. naive: it goes on, and
            the next chunk rests on what had been imagined. grounded: on what the actions under way will lead to,
            imagined anew from what was seen last; prefixed: likewise, and it continues the actions executed meanwhile
            (both need a policy trained for it). open_loop: it never looks.
        latency_ms: How long a chunk is said to take to compute: the simulated world goes on meanwhile.
        videos: For how many episodes to write an mp4 of what was seen beside what was imagined.
        compile: Compile the transformer's layers first, which takes minutes and pays on CUDA.
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
    run.evaluate(
        policy,
        task,
        out,
        episodes,
        seed,
        schedule,
        changes,
        execution_horizon,
        controller,
        latency_ms,
        videos,
        compile,
        device,
        threads,
    )


def demo(
    policy: str = "tiny",
    task: str = "transfer_cube",
    episodes: int = 3,
    seed: int = 1_000_000,
    schedule: str | None = None,
    controller: Literal["synchronous", "naive", "grounded", "prefixed", "open_loop"] | None = None,
    view: str | None = None,
    out: Path = Path("outputs/demo"),
    threads: int | None = None,
) -> None:
    """Show the policy at work in real time: what it imagined beside what happened, and whether the robot had to wait.

    The first episode is run twice: the robot stands still while it thinks, then it moves meanwhile.

    Example: foreact demo --task lift_cube --episodes 3 --view outputs/demo/demo.rrd

    Args:
        policy: Name of a shipped policy, or a folder.
        task: reach_cube, lift_cube, transfer_cube, remember_bin or remember_bin_two.
        episodes: Number of episodes.
        seed: Of the first.
        schedule: Denoising steps by name: exact, fast or turbo; the policy's own by default.
        controller: What the robot does while a chunk is computed, as in `foreact evaluate`; grounded by default, or
            synchronous if the policy was not trained for it.
        view: See it in Rerun, too (pip install 'foreact[view]'). live: in a viewer, now. A file ending in .rrd: a
            recording, to open with `rerun FILE`. rerun+http://HOST:9876/proxy: in a viewer that runs elsewhere.
        out: Gets the videos and figures, and realtime.json.
        threads: CPU threads of the policy; by default all but one, which is left to the control loop.
    """
    from foreact.commands import demo as command

    command.demo(policy, task, episodes, seed, schedule, controller, view, out, threads)


def imagine(
    image: tuple[str, ...],
    instruction: str,
    out: Path,
    policy: str = "tiny",
    chunks: int = 3,
    state: tuple[str, ...] = (),
    seed: int = 0,
    schedule: str | None = None,
    video_steps: int | None = None,
    s_stop: float | None = None,
    action_steps: int | None = None,
    video_guidance: float | None = None,
    window: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Imagine from a still picture what the robot will do: a film of it, and the actions that lead there (open loop).

    The policy tiny knows one camera, top, and three instructions, word for word: "Reach for the white cube with the
    right arm.", "Pick up the white cube with the right arm." and "Pick up the white cube with the right arm and hand it
    over to the left arm." Other words mean nothing to it.

    Example: foreact imagine --image top=examples/lift_cube_top.png --state examples/lift_cube_state.json --instruction
    "Pick up the white cube with the right arm." --out outputs/imagine

    Args:
        image: A picture (PNG or JPEG, any size) of each of the policy's cameras: top=table.png wrist=hand.jpg.
        instruction: What the robot is to do, in words.
        out: Gets imagined.mp4, strip.png, actions.csv, actions.png and imagined.json.
        policy: Name of a shipped policy, or a folder.
        chunks: How many chunks to imagine, each upon those before.
        state: Where the robot stands in the picture, its own units: numbers, or one file (.json, .csv). By default the
            middle of what the policy was trained on.
        seed: Of the noise; another seed imagines another future.
        schedule: Steps by name: exact, fast or turbo; the policy's own by default. What follows wins over it.
        video_steps: Denoising steps of the video; the policy's own by default, as all that follow.
        s_stop: Flow time at which imagining stops, 0 to 1.
        action_steps: Denoising steps of the actions.
        video_guidance: Guidance scale of the video; 1 is none, and halves its cost.
        window: Latent frames of history.
        device: cpu or cuda.
        threads: CPU threads; all by default.
    """
    from foreact.commands import imagine as command

    settings = {
        "video_steps": video_steps,
        "s_stop": s_stop,
        "action_steps": action_steps,
        "video_guidance": video_guidance,
        "window": window,
    }
    changes = {name: value for name, value in settings.items() if value is not None}
    command.imagine(policy, image, instruction, chunks, out, state, seed, changes, device, threads, schedule=schedule)


def modes(
    data: tuple[Path, ...],
    out: Path,
    policy: str = "tiny",
    held_out: int = 5,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Ask one network four questions on held-out recorded episodes, and measure how good the answers are.

    Policy: video and actions from the history. Video only. Forward dynamics: the video that the recorded actions lead
    to. Inverse dynamics: the actions that lead through the recorded video.

    Example: foreact modes --policy tiny --data data/lift_cube data/reach_cube --out outputs/modes

    Args:
        data: LeRobot datasets, encoded by `foreact encode` with the policy's own video VAE.
        out: Gets modes.json and modes.png.
        policy: Name of a shipped policy, or a folder; one that imagines and was trained for forward dynamics.
        held_out: Last episodes of each dataset that are measured; training holds out 5.
        seed: Of the noise.
        device: cpu or cuda.
        threads: CPU threads; all by default.
    """
    from foreact.commands import modes as command

    command.modes(policy, data, held_out, out, seed, device, threads)


def describe(
    preset: Annotated[str, tyro.conf.Positional],
    window: int | None = None,
    latent_frames_per_chunk: int | None = None,
    video_steps: int | None = None,
    s_stop: float | None = None,
    action_steps: int | None = None,
    video_guidance: float | None = None,
    json: bool = False,
) -> None:
    """Say what a preset or a policy needs, without making it: weights, work, memory to run and to train.

    Milliseconds are floors of one H100, computed and not measured. The settings below change the preset's own.

    Example: foreact describe wan5b --window 30 --video-guidance 1

    Args:
        preset: tiny, tiny-reactive, small, wan5b or wan5b-shared; or the folder of a policy.
        window: Latent frames of history.
        latent_frames_per_chunk: K.
        video_steps: Denoising steps of the video.
        s_stop: Flow time at which imagining stops, 0 to 1.
        action_steps: Denoising steps of the actions.
        video_guidance: Guidance scale of the video; 1 is none.
        json: Print every figure as JSON.
    """
    from foreact.commands import describe as command

    settings = {
        "window": window,
        "latent_frames_per_chunk": latent_frames_per_chunk,
        "video_steps": video_steps,
        "s_stop": s_stop,
        "action_steps": action_steps,
        "video_guidance": video_guidance,
    }
    changes = {name: value for name, value in settings.items() if value is not None}
    command.describe(preset, changes, json)


def bench(
    preset: str = "tiny",
    policy: Path | None = None,
    history: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0),
    sessions: tuple[int, ...] = (1, 2, 4, 8),
    repeats: int = 5,
    window: int | None = None,
    video_steps: int | None = None,
    action_steps: int | None = None,
    video_guidance: float | None = None,
    layers: int | None = None,
    device: str = "cpu",
    dtype: Literal["float32", "bfloat16"] = "float32",
    threads: int | None = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Time a policy's chunks on this machine: per stage, by length of history, by number of sessions in a batch.

    The floor beside each time is the longer of computing and moving at this machine's own ceilings, measured in the
    same run. A preset is timed with random weights, which take as long as trained ones.

    Example: foreact bench --preset tiny --threads 1 --out outputs/bench

    Args:
        preset: tiny, tiny-reactive, small, wan5b or wan5b-shared.
        policy: Folder of a policy, instead of a preset.
        history: Shares of the window that are full before the first chunk.
        sessions: How many sessions go through the network together, with a full window.
        repeats: Chunks that count, per setting; settings alternate.
        window: Latent frames of history; the preset's own by default, as all that follow.
        video_steps: Denoising steps of the video.
        action_steps: Denoising steps of the actions.
        video_guidance: Guidance scale of the video; 1 is none.
        layers: Fewer layers of a preset, for machines that cannot hold it.
        device: cpu or cuda.
        dtype: Of weights and arithmetic, for presets.
        threads: CPU threads; all by default.
        out: Gets bench.json and bench.png.
        json: Print every figure as JSON.
    """
    from foreact.commands import bench as command

    settings = {
        "window": window,
        "video_steps": video_steps,
        "action_steps": action_steps,
        "video_guidance": video_guidance,
    }
    changes = {name: value for name, value in settings.items() if value is not None}
    command.bench(preset, policy, history, sessions, repeats, changes, layers, device, dtype, threads, out, json)


def serve(
    policy: str = "tiny",
    schedule: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    max_sessions: int = 64,
    idle_s: float = 300.0,
    max_batch: int = 16,
    log_file: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> None:
    """Serve a policy to robots over the network: to openpi's clients as they are, and to foreact.control.client.Client.

    Robots that ask at a time are computed as one batch. SIGTERM or Ctrl-C finishes what is being answered, then ends.
    Whoever reaches the port can drive the robots: any host but this machine's own needs a token, and should have a
    certificate.

    Example: foreact serve --policy tiny --port 8000

    Args:
        policy: Name of a shipped policy, or a folder.
        schedule: Denoising steps by name: exact, fast or turbo; the policy's own by default.
        host: Address to listen on; 0.0.0.0 for all of this machine's, which needs a token.
        port: Port to listen on; 0 for one that is free.
        token_file: Holds the token that clients must send, 16 characters or more.
        cert: Certificate (PEM); with key, connections are encrypted (wss://).
        key: Its private key (PEM).
        max_sessions: Robots that can be served at a time; each has a cache in the device's memory.
        idle_s: Seconds without a message after which a session is ended.
        max_batch: Requests that are computed together, at most; 1: one by one.
        log_file: Gets the log, one JSON object a line; by default it goes to stderr.
        device: cpu or cuda.
        threads: CPU threads; all by default.
    """
    from foreact.commands import serve as command

    command.serve(
        policy, schedule, host, port, token_file, cert, key, max_sessions, idle_s, max_batch, log_file, device, threads
    )


def init(
    preset: str,
    source: Annotated[str, tyro.conf.arg(name="from")],
    out: Path,
    dtype: Literal["float32", "bfloat16"] = "bfloat16",
    shard_gb: float = 2.0,
    seed: int = 0,
) -> None:
    """Make the initial weights of a full-size network from Wan2.2's, or from published LingBot-VA weights.

    Tensors pass through one by one: a few gigabytes of memory are enough. What the source has nothing for (the action
    stream's way in and out) is drawn from the seed; the action stream's layers are interpolated from the video
    stream's. Train from the result: foreact train --recipe wan5b --initial OUT --vae OUT/vae ...

    Example: foreact init --preset wan5b --from Wan-AI/Wan2.2-TI2V-5B-Diffusers --out weights/wan5b

    Args:
        preset: wan5b (a stream of its own for actions) or wan5b-shared (one backbone for both).
        source: A folder in diffusers' layout, or "owner/name" on the hub.
        out: Gets config.json, model*.safetensors, and links to the source's vae/, text_encoder/ and tokenizer/.
        dtype: Of the weights.
        shard_gb: Size of a file, gigabytes.
        seed: Of what is drawn.
    """
    from foreact.commands import init as command

    command.init(preset, source, out, dtype, shard_gb, seed)


def verify(
    folder: Annotated[Path, tyro.conf.Positional],
    tolerance: float = 1e-4,
    device: str = "cpu",
    dtype: Literal["stored", "float32", "bfloat16"] = "stored",
    quantize: Literal["none", "int8", "fp8"] = "none",
    threads: int | None = None,
    json: bool = False,
) -> None:
    """Replay a recorded rollout of the published program, and say how far every tensor of ours is from it.

    Exits with 1 if one is further off than the tolerance.

    Example: foreact verify tests/golden/side_by_side

    Args:
        folder: Weights in the published layout (transformer/ vae/ text_encoder/ tokenizer/) with the recording,
            trace.json and trace.safetensors.
        tolerance: Largest relative error allowed, norm(ours - recorded) / norm(recorded).
        device: cpu or cuda.
        dtype: Of weights and arithmetic; the recordings were made in float32.
        quantize: Hold the transformer's matrices in 8 bits, to see what error that causes.
        threads: CPU threads; all by default.
        json: Print the errors as JSON.
    """
    from foreact.commands import verify as command

    command.verify(folder, tolerance, device, dtype, quantize, threads, json)


def study(
    name: Annotated[str | None, tyro.conf.Positional] = None,
    workers: int = 1,
    out: Path = Path("outputs/studies"),
    known: Path | None = None,
    only: tuple[str, ...] = (),
    budget_hours: float | None = None,
    list_cells: Annotated[bool, tyro.conf.arg(name="list")] = False,
    report_only: bool = False,
    ray: str | None = None,
    device: str = "cpu",
) -> None:
    """Answer a question by a grid of trainings and evaluations: one table, one picture, one JSON, claims judged.

    Without a name, lists the studies. What was done before, by whatever study, is not done again; repeat the command
    after an interruption, or a failure, and it goes on where it stopped. Several runs may work on one folder.

    Example: foreact study imagination --workers 2

    Args:
        name: quick, imagination, memory, denoising, demonstrations, imagination-again, drift-and-loop, ablations or
            compute.
        workers: Processes, each of one thread.
        out: Gets NAME/report.md, report.json and figure.png; under store/, all trainings and evaluations.
        known: Folder with the ledger of what was measured elsewhere, which is then not run again: docs/evidence.
        only: Cells to run, as LABEL=VALUE: task=lift_cube policy=imagines.
        budget_hours: Hours after which nothing more is begun.
        list_cells: Run nothing; list the cells, which are done, and what the others are estimated to take.
        report_only: Run nothing; write the report of what there is.
        ray: Run on a Ray cluster instead, whose machines all see `out`: its address, or auto (pip install
            "foreact[ray]").
        device: cpu or cuda.
    """
    from foreact.commands import study as command

    command.study(name, out, known, workers, only, budget_hours, list_cells, report_only, ray, device)


def evidence(studies: Path | None = None, docs: Path = Path("docs")) -> None:
    """Write one document of all studies, from their reports: which claims hold, which fail, and what was not run.

    Example: foreact evidence --studies outputs/studies

    Args:
        studies: What `foreact study` wrote; its reports are gathered first. Without it, those gathered before are used.
        docs: Gets evidence.md, and in evidence/ a JSON and a picture of each study and the ledger of what was done.
    """
    from foreact.commands import evidence as command

    command.evidence(studies, docs)


def main(arguments: list[str] | None = None) -> None:
    """Run one command; exit with 2 on an error of the user's, with 130 on Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _check_given_once(given)
        commands = {
            "collect": collect,
            "train-vae": train_vae,
            "encode": encode,
            "train": train_command(get_recipe(_value_of("--recipe", given) or "tiny")),
            "calibrate": calibrate,
            "evaluate": evaluate,
            "demo": demo,
            "describe": describe,
            "bench": bench,
            "serve": serve,
            "init": init,
            "imagine": imagine,
            "modes": modes,
            "verify": verify,
            "study": study,
            "evidence": evidence,
        }
        tyro.extras.subcommand_cli_from_dict(
            commands, args=given, prog="foreact", description=DESCRIPTION, sort_subcommands=False
        )
    except ForeactError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}")
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        console.print("[yellow]stopped.[/] Nothing finished is lost: repeat the command to go on.")
        raise SystemExit(INTERRUPTED) from None


def _check_given_once(arguments: list[str]) -> None:
    """Refuse a flag that is given twice: the parser would take its last values and forget the others."""
    flags = Counter(argument.split("=")[0] for argument in arguments if argument.startswith("--"))
    for flag, count in flags.items():
        if count > 1:
            cure = f"give all values of a list after one: {flag} A B"
            raise ConfigurationError(flag, got=f"{count} times", allowed="once", cure=cure)


def _value_of(flag: str, arguments: list[str]) -> str | None:
    for index, argument in enumerate(arguments):
        if argument == flag and index + 1 < len(arguments):
            return arguments[index + 1]
        if argument.startswith(flag + "="):
            return argument.split("=", 1)[1]
    return None


if __name__ == "__main__":
    main()
