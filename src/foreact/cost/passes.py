"""What the passes of one chunk cost: denoising steps, the kept pass, appending what was observed."""

from dataclasses import dataclass, replace

from foreact.cost.accelerator import NOTHING, Cost, cost_of
from foreact.cost.streams import Kind, stream_sizes
from foreact.policy.inference import InferenceConfig
from foreact.transformer.model import TransformerConfig

BYTES = 2
"""Of a number in bfloat16."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """What a pass finds in the cache."""

    history_frames: int
    """Latent frames observed."""
    text_tokens: int
    """Keys of the instruction, the one that stands for its padding included."""

    def __post_init__(self) -> None:
        assert self.history_frames >= 0 and self.text_tokens >= 1


def pass_cost(
    config: TransformerConfig,
    kind: Kind,
    past: Past,
    *,
    rows: int,
    frames: int,
    scratch_tokens: int = 0,
    keeps: bool = False,
) -> Cost:
    """Return what one stream's share of a forward costs.

    Args:
        config: Sizes of the network.
        kind: Which stream.
        past: What is in the cache.
        rows: 2 under guidance, where the cache has two.
        frames: Latent frames that pass.
        scratch_tokens: Tokens of this chunk that it sees besides its own: imagined video, or that appended with it.
        keeps: It only leaves its keys and values in the cache: of the last layer nothing else is computed.
    """
    sizes = stream_sizes(config, kind)
    own = frames * sizes.tokens
    seen = past.history_frames * (config.video_tokens + config.action_tokens) + scratch_tokens + own
    keys = seen * sizes.joint_width + past.text_tokens * sizes.width
    last, ends = (1, sizes.way_in) if keeps else (0, sizes.ends)
    layers = sizes.num_layers - last
    products = own * (ends + layers * sizes.layer_products + last * sizes.kept_products) + sizes.clock
    attention = 2 * layers * own * keys  # scores, then the weighted sum of values
    weights = ends + sizes.clock + layers * sizes.layer_weights + last * sizes.kept_weights
    cached = 2 * (layers * keys + sizes.num_layers * own * sizes.joint_width)  # keys and values, read and written
    return cost_of(2 * rows * (products + attention), BYTES * (weights + rows * cached))


def video_step(config: TransformerConfig, past: Past, *, rows: int, frames: int) -> Cost:
    """Return the cost of one denoising step of a video chunk."""
    return pass_cost(config, "video", past, rows=rows, frames=frames)


def keep_video(config: TransformerConfig, past: Past, *, rows: int, frames: int) -> Cost:
    """Return the cost of the pass that leaves the keys and values of a video chunk in the cache."""
    return pass_cost(config, "video", past, rows=rows, frames=frames, keeps=True)


def action_step(config: TransformerConfig, past: Past, *, rows: int, frames: int, imagines: bool = True) -> Cost:
    """Return the cost of one denoising step of an action chunk, which sees the imagined video if there is any."""
    imagined = frames * config.video_tokens if imagines else 0
    return pass_cost(config, "action", past, rows=rows, frames=frames, scratch_tokens=imagined)


def append(config: TransformerConfig, past: Past, *, rows: int, frames: int) -> Cost:
    """Return the cost of putting observed latent frames and executed actions into the cache, in one forward."""
    seen = frames * config.video_tokens
    video = keep_video(config, past, rows=rows, frames=frames)
    action = pass_cost(config, "action", past, rows=rows, frames=frames, scratch_tokens=seen, keeps=True)
    if not config.is_shared:
        return video + action
    sizes = stream_sizes(config, "video")
    met_twice = BYTES * ((sizes.num_layers - 1) * sizes.layer_weights + sizes.kept_weights)
    return cost_of(video.flops + action.flops, video.num_bytes + action.num_bytes - met_twice)


def read_instruction(config: TransformerConfig, *, rows: int, text_tokens: int) -> Cost:
    """Return the cost, once per instruction, of its keys and values in every layer."""
    streams = [stream_sizes(config, kind) for kind in ("video", "action")]
    total = NOTHING
    for sizes in streams[: 1 if config.is_shared else 2]:
        width = sizes.width
        weights = config.text_dim * width + width**2 + sizes.num_layers * 2 * width**2
        total = total + cost_of(2 * rows * text_tokens * weights, BYTES * weights)
    return total


@dataclass(frozen=True, kw_only=True)
class ChunkCost:
    """The cost of one chunk by the schedule, part by part, and of the passes it is made of."""

    history_frames: int
    """Latent frames in the cache while it is computed."""
    video_step: Cost
    """One denoising step of the video, one row."""
    video_step_guided: Cost
    """The same with guidance: two rows."""
    action_step: Cost
    """One denoising step of the actions, one row."""
    action_step_guided: Cost
    """The same with guidance."""
    imagine: Cost
    """All passes of the video by the schedule, that which leaves its keys and values included."""
    decode_actions: Cost
    """All passes of the actions by the schedule."""
    append: Cost
    """Taking in what was observed while one chunk was executed."""
    encode: Cost
    """The video VAE on that chunk's camera frames."""
    total: Cost
    """The four together."""
    total_unguided: Cost
    """The same by the same schedule, but without guidance: one row."""
    total_guided: Cost
    """The same with guidance of the video alone."""


def chunk_cost(config: TransformerConfig, inference: InferenceConfig, past: Past, encode: Cost) -> ChunkCost:
    """Return what a chunk costs with this much in the cache.

    Args:
        config: Sizes of the network.
        inference: The schedule.
        past: What is in the cache.
        encode: The cost of the video VAE on one chunk.
    """
    frames = inference.latent_frames_per_chunk
    video = [video_step(config, past, rows=rows, frames=frames) for rows in (1, 2)]
    action = [
        action_step(config, past, rows=rows, frames=frames, imagines=inference.trained.imagines) for rows in (1, 2)
    ]
    kept = [keep_video(config, past, rows=rows, frames=frames) for rows in (1, 2)]
    appended = [append(config, past, rows=rows, frames=frames) for rows in (1, 2)]

    def parts(schedule: InferenceConfig) -> tuple[Cost, Cost, Cost]:
        decode = action[0 if schedule.action_guidance == 1 else 1] * schedule.action_steps
        return _imagine(schedule, video, kept), decode, appended[schedule.rows - 1]

    unguided = replace(inference, video_guidance=1.0, action_guidance=1.0)
    imagine, decode, taken_in = parts(inference)
    return ChunkCost(
        history_frames=past.history_frames,
        video_step=video[0],
        video_step_guided=video[1],
        action_step=action[0],
        action_step_guided=action[1],
        imagine=imagine,
        decode_actions=decode,
        append=taken_in,
        encode=encode,
        total=sum((imagine, decode, taken_in), encode),
        total_unguided=sum(parts(unguided), encode),
        total_guided=sum(parts(replace(unguided, video_guidance=2.0)), encode),
    )


def _imagine(inference: InferenceConfig, step: list[Cost], kept: list[Cost]) -> Cost:
    """Return the cost of all video passes: as `Predictor` runs them."""
    if not inference.trained.imagines:
        return NOTHING
    if inference.video_steps_executed is not None:
        return step[inference.rows - 1] * inference.video_steps_executed
    guided = 0 if inference.video_guidance == 1 else 1
    return step[guided] * inference.video_steps + kept[inference.rows - 1]
