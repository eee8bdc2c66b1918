"""The tables of `foreact describe`."""

from rich.table import Table

from foreact.commands.progress import bold
from foreact.cost.accelerator import Cost
from foreact.cost.describe import Description, TrainingDescription

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def human(number: int | float, unit: str = "") -> str:
    """Return a number of three digits with its prefix, "3.20 GB"."""
    factor, prefix = next(((f, p) for f, p in PREFIXES if number >= f), (1.0, ""))
    value = number / factor
    digits = 0 if value >= 100 or not prefix else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {prefix}{unit}".rstrip()


def count(number: int) -> str:
    """Return a number of weights, in billions from 1e9 on: "5.00 B", "434 M", or a dash."""
    return human(number).replace("G", "B") if number else "-"


def milliseconds(number: float) -> str:
    """Return a number of three digits, at most three of them behind the point."""
    return f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3}f}"


def introduction(description: Description) -> Table:
    """Return what stands above the tables: weights, tokens, cache."""
    tokens, cache, text = description.tokens, description.cache, description.text_encoder
    vae = description.video_vae.encoder_parameters + description.video_vae.decoder_parameters
    encoder = f"{text.name} {count(text.parameters)} (a known constant)" if text.parameters else "words (no weights)"
    per_frame = f"{tokens.video_per_latent_frame} video + {tokens.action_per_latent_frame} action tokens"
    table = Table.grid(padding=(0, 2))
    table.add_row("[bold]weights[/]", bold(count(description.network.total)))
    table.add_row("frozen", f"video VAE {count(vae)} ({description.video_vae_name}), text encoder {encoder}")
    table.add_row("latent frame", per_frame)
    for name, frames, length, seconds in (
        ("chunk", tokens.latent_frames_per_chunk, tokens.per_chunk, tokens.chunk_s),
        ("window", tokens.window, tokens.per_window, tokens.window_s),
    ):
        table.add_row(name, f"{frames} latent frames, {length} tokens, {seconds:.3g} s")
    sizes = f"{human(cache.bfloat16_bytes, 'B')} in bfloat16, {human(cache.float32_bytes, 'B')} in float32"
    rows = f"{cache.rows} row{'s' * (cache.rows > 1)}, {human(cache.token_bytes, 'B')} a token and row in bfloat16"
    table.add_row("KV cache", f"{sizes}: {rows}")
    if description.training is not None:
        step = (
            f"{description.training.global_batch} sequences of up to {description.training.tokens_per_sequence} tokens"
        )
        table.add_row("training step", f"{step}, {human(description.training.flops_per_step, 'FLOP')}")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", vertical="bottom", no_wrap=True)
    return table


def parameter_table(description: Description) -> Table:
    """Return the weights, by stream and part."""
    video, action = vars(description.network.video), vars(description.network.action)
    heads = [name.replace("_", "\n").replace("feed", "feed-") for name in video]
    table = _table("Weights by stream", "", *heads)
    for name, stream in (("video", video), ("action", action)):
        table.add_row(name, *(count(stream[part]) for part in video))
    return table


def pass_table(description: Description) -> Table:
    """Return operations, bytes and least time of each pass."""
    frames = [f"{chunk.history_frames} frame{'s' * (chunk.history_frames > 1)}" for chunk in description.chunks]
    heads = [head for frame in frames for head in (f"{frame}:\nFLOP", "\nbytes", "\nms")]
    table = _table("Work and floor, by latent frames of history in the cache", "", *heads)
    for name, part in _pass_rows(description).items():
        table.add_row(name, *(cell for chunk in description.chunks for cell in _cost_cells(getattr(chunk, part))))
    return table


def _pass_rows(description: Description) -> dict[str, str]:
    """Return what each row is called, and which field of `ChunkCost` it shows."""
    inference = description.inference
    executed = inference.video_steps_executed or inference.video_steps
    video, action = (", guided" * (scale != 1) for scale in (inference.video_guidance, inference.action_guidance))
    other = ("chunk, unguided", "total_unguided") if inference.rows == 2 else ("chunk, video guided", "total_guided")
    return {
        "video step": "video_step",
        "video step, guided": "video_step_guided",
        "action step": "action_step",
        "action step, guided": "action_step_guided",
        f"{executed} video steps{video}" if inference.trained.imagines else "no video steps": "imagine",
        f"{inference.action_steps} action steps{action}": "decode_actions",
        "append what was seen": "append",
        "encode its pictures": "encode",
        "chunk in all": "total",
        other[0]: other[1],
    }


def _cost_cells(cost: Cost) -> list[str]:
    return [human(cost.flops), human(cost.num_bytes, "B"), milliseconds(cost.floor_ms)]


def run_table(description: Description) -> Table:
    """Return the memory to run one session, by precision of the weights."""
    heads = ("network", "KV cache", "activations", "video\nVAE", "text\nencoder", "all", "without\ntext enc.")
    table = _table("Memory to run one session", "", *heads)
    for run in description.run:
        parts = (run.network, run.cache, run.activations, run.video_vae, run.text_encoder)
        table.add_row(run.precision, *(human(n, "B") for n in (*parts, run.total, run.total_text_released)))
    return table


def training_table(training: TrainingDescription) -> Table:
    """Return the memory to train, by method."""
    title = (
        f"Memory to train on one device, {training.precision}, "
        f"{training.micro_batch} x {training.tokens_per_sequence} tokens at a time"
    )
    heads = ("weights", "gradi-\nents", "moments", "average", "activa-\ntions", "all", "all, re-\ncomputed")
    table = _table(title, "", *heads)
    for kept, recomputed in zip(training.memory[::2], training.memory[1::2], strict=True):
        parts = (kept.weights, kept.gradients, kept.moments, kept.average, kept.activations, kept.total)
        table.add_row(kept.method, *(human(n, "B") for n in (*parts, recomputed.total)))
    return table
