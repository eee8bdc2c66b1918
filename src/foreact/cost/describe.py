"""The whole description: every figure of a recipe or a policy, without making it."""

from dataclasses import dataclass

from foreact.cost.accelerator import H100, Accelerator, Cost
from foreact.cost.cache import CacheSize, cache_size
from foreact.cost.parameters import NetworkParameters, count_network
from foreact.cost.passes import ChunkCost, Past, chunk_cost, read_instruction
from foreact.cost.running import Precision, RunMemory, largest_pass, run_memory
from foreact.cost.subject import NUM_WORD_TOKENS, UMT5_PARAMETERS, Subject
from foreact.cost.training import (
    METHODS,
    TrainMemory,
    activation_bytes,
    forward_flops,
    longest_layout,
    train_memory,
)
from foreact.cost.video_vae import VideoVAEDescription, describe_video_vae
from foreact.policy.inference import InferenceConfig
from foreact.transformer.model import TransformerConfig

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8", "fp8")


@dataclass(frozen=True, kw_only=True)
class TextEncoderDescription:
    """What embeds instructions."""

    name: str
    """UMT5-XXL, or the word encoder, which has no weights."""
    parameters: int
    """Weights; a known constant, not counted."""
    tokens: int
    """Keys of the instruction that all figures here assume."""


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """How long things are."""

    video_per_latent_frame: int
    action_per_latent_frame: int
    per_chunk: int
    """Video and actions."""
    per_window: int
    """Video and actions of the whole window of history."""
    latent_frames_per_chunk: int
    window: int
    """Latent frames."""
    chunk_s: float
    """Seconds that executing one chunk takes."""
    window_s: float
    """Seconds that the window covers."""


@dataclass(frozen=True, kw_only=True)
class TrainingDescription:
    """One device that trains alone on the recipe's longest sequences."""

    precision: str
    """Of the arithmetic."""
    global_batch: int
    """Sequences per optimiser step."""
    micro_batch: int
    """Sequences per forward."""
    tokens_per_sequence: int
    """Of the longest, its noisy and its clean copy."""
    flops_per_step: int
    """Forward and backward (three forwards) over the global batch of longest sequences, chunks of the greatest length;
    checkpointing adds a third."""
    memory: tuple[TrainMemory, ...]
    """By method, with and without checkpointing."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """Every figure; bytes are bytes, a GB is 1e9 of them."""

    name: str
    """What is described."""
    transformer: TransformerConfig
    """Sizes of the network."""
    inference: InferenceConfig
    """The schedule."""
    network: NetworkParameters
    """Weights that are trained."""
    video_vae_name: str
    """Which one."""
    video_vae: VideoVAEDescription
    """Frozen."""
    text_encoder: TextEncoderDescription
    """Frozen."""
    tokens: TokenCounts
    """Lengths."""
    cache: CacheSize
    """Of one session."""
    accelerator: Accelerator
    """What the floors are computed for."""
    instruction: Cost
    """Reading an instruction, once per session."""
    chunks: tuple[ChunkCost, ...]
    """With one observed latent frame in the cache, and with a full window."""
    run: tuple[RunMemory, ...]
    """By precision."""
    training: TrainingDescription | None
    """None if nothing is known of it."""


def describe(subject: Subject) -> Description:
    """Return every figure; takes a second or two and next to no memory, whatever the size."""
    config, inference = subject.transformer, subject.inference
    parameters, cache = count_network(config), cache_size(config, inference)
    vae = describe_video_vae(subject.video_vae, subject.layout, inference.latent_frames_per_chunk)
    text_parameters = UMT5_PARAMETERS if subject.uses_umt5 else 0
    pasts = [Past(history_frames=n, text_tokens=subject.text_tokens) for n in sorted({1, inference.window})]
    return Description(
        name=subject.name,
        transformer=config,
        inference=inference,
        network=parameters,
        video_vae_name=subject.video_vae_name,
        video_vae=vae,
        text_encoder=TextEncoderDescription(
            name="UMT5-XXL" if subject.uses_umt5 else "words", parameters=text_parameters, tokens=subject.text_tokens
        ),
        tokens=_tokens(subject),
        cache=cache,
        accelerator=H100,
        instruction=read_instruction(config, rows=inference.rows, text_tokens=subject.text_tokens),
        chunks=tuple(chunk_cost(config, inference, past, vae.encode) for past in pasts),
        run=tuple(
            run_memory(
                precision,
                parameters,
                cache,
                pass_numbers=largest_pass(config, inference),
                vae_activation_bytes=vae.activation_bytes,
                vae_parameters=vae.encoder_parameters + vae.decoder_parameters,
                text_parameters=text_parameters,
            )
            for precision in PRECISIONS
        ),
        training=_training(subject, parameters),
    )


def _tokens(subject: Subject) -> TokenCounts:
    config, inference, timing = subject.transformer, subject.inference, subject.embodiment.timing
    per_frame = config.video_tokens + config.action_tokens
    return TokenCounts(
        video_per_latent_frame=config.video_tokens,
        action_per_latent_frame=config.actions_per_latent_frame,
        per_chunk=inference.latent_frames_per_chunk * per_frame,
        per_window=inference.window * per_frame,
        latent_frames_per_chunk=inference.latent_frames_per_chunk,
        window=inference.window,
        chunk_s=inference.latent_frames_per_chunk / timing.latent_hz,
        window_s=inference.window / timing.latent_hz,
    )


def _training(subject: Subject, parameters: NetworkParameters) -> TrainingDescription | None:
    config, batch, precision = subject.transformer, subject.batch, subject.precision
    if batch is None:
        return None
    layout = longest_layout(batch, batch.max_chunk)
    tokens = len(layout.video_frames) * config.video_tokens
    tokens += len(layout.action_frames) * config.action_tokens
    return TrainingDescription(
        precision=precision,
        global_batch=batch.global_batch,
        micro_batch=batch.micro_batch,
        tokens_per_sequence=tokens,
        flops_per_step=3 * batch.global_batch * forward_flops(config, layout, text_tokens=NUM_WORD_TOKENS),
        memory=tuple(
            train_memory(
                method,
                checkpointing=checkpointing,
                precision=precision,
                parameters=parameters,
                activations=activation_bytes(config, batch, precision, checkpointing=checkpointing),
            )
            for method in METHODS
            for checkpointing in (False, True)
        ),
    )
